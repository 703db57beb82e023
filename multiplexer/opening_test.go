package multiplexer

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// The end of a dialogue is told after its opening, and once, also if the connection
// ends while the Handler is being told of it.
func TestEndWhileOpeningIsTold(t *testing.T) {
	for _, decide := range []struct {
		name string
		do   func(*Dialogue)
	}{
		{"not decided", func(*Dialogue) {}},
		{"accepted", func(d *Dialogue) { d.Accept(true) }},
		{"refused", func(d *Dialogue) { d.Refuse(packet.Notice{Code: 1}) }},
	} {
		t.Run(decide.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				begun, goOn := make(chan *Dialogue), make(chan struct{})
				h.mu.Lock()
				h.onOpened = func(d *Dialogue) {
					begun <- d
					<-goOn
					decide.do(d)
				}
				h.mu.Unlock()
				p.writeOpen(3, "the peer opens")
				d := <-begun
				m.Close(io.EOF, packet.Notice{})
				synctest.Wait()
				h.mu.Lock()
				assert.Zero(t, h.closed[d], "Closed, before Opened has returned")
				assert.Equal(t, 1, h.ends)
				h.mu.Unlock()
				close(goOn)
				synctest.Wait()
				h.mu.Lock()
				assert.Equal(t, 1, h.closed[d], "Closed")
				assert.Equal(t, io.EOF, h.causes[d])
				h.mu.Unlock()
				_, err := d.Write([]byte("x"))
				require.Error(t, err)
				_, err = d.Read(make([]byte, 1))
				assert.Equal(t, io.EOF, err)
			})
		})
	}
}
