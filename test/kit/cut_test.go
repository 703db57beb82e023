package kit

import (
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// After the cut, both sides read the error of the mode.
func TestCutPipe(t *testing.T) {
	for mode, want := range map[CutMode]error{CutFIN: io.EOF, CutRST: syscall.ECONNRESET} {
		t.Run(mode.String(), func(t *testing.T) {
			near, far := NewCutPipe(mode, 3, NoCut)
			read := Start(func() string {
				got, err := io.ReadAll(far)
				if mode != CutFIN { // ReadAll returns no io.EOF
					assert.Equal(t, want, err)
				}
				return string(got)
			})
			n, err := near.Write([]byte("hello"))
			assert.Error(t, err)
			assert.Equal(t, 3, n)
			assert.Equal(t, "hel", <-read)
			for _, end := range []*CutEnd{near, far} {
				_, err := end.Read(make([]byte, 1))
				assert.Equal(t, want, err)
			}
			assert.Equal(t, 3, near.Sent())
		})
	}
}
