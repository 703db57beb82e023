package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

func TestSmoke(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptEnd()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Register(ctx, "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 5, 100, 5000, 9000, 70000, 1 << 20, 5 << 20} {
		data := make([]byte, n)
		rand.Read(data)
		resp, err := c.Call(ctx, "echo", c.NewRequest(data))
		if err != nil || !bytes.Equal(resp.Data(), data) {
			t.Fatal(n, err)
		}
	}
	_, err = c.Call(ctx, "nope", c.NewRequest(nil))
	if err == nil || err.Error() != "no such rpc: nope" {
		t.Fatal(err)
	}
	go func() {
		m, err := s.Receive(ctx)
		if err == nil {
			m.Done()
		}
	}()
	if err := c.Publish(ctx, c.NewMessage([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	st, err := s.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64<<20)
	rand.Read(data)
	go func() { st.Write(data); st.Close() }()
	cs, err := c.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	n, err := io.Copy(h, cs)
	if err != nil || n != int64(len(data)) || !bytes.Equal(h.Sum(nil), func() []byte { x := sha256.Sum256(data); return x[:] }()) {
		t.Fatal(n, err)
	}
	c.Close()
	if _, err := s.Receive(ctx); err != io.EOF {
		t.Fatal(err)
	}
	s.Close()
}
