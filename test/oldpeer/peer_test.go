package oldpeer

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/internal/wire1"
)

// Two peers of this package talk to each other.
func TestPeers(t *testing.T) {
	for name, late := range map[string]bool{"the answer first": false, "the answer last": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testPeers(t, late) })
		})
	}
}

func testPeers(t *testing.T, late bool) {
	cc, sc := net.Pipe()
	got := make(chan string, 10)
	cfg := Config{
		Newer: true, LateAnswer: late,
		Handle: func(ctx context.Context, s *Session, p wire1.Packet) ([]byte, error) {
			if string(p.Key) == "wait" {
				<-ctx.Done()
			}
			return p.Value, ctx.Err()
		},
		Message: func(s *Session, p wire1.Packet) error { return errors.New("no " + p.Topic) },
		Raw:     func(s *Session, b []byte) { got <- string(b) },
	}
	servers := make(chan *Peer, 1)
	go func() {
		p, err := Accept(sc, cfg)
		assert.NoError(t, err)
		servers <- p
	}()
	client, err := Dial(cc, cfg)
	require.NoError(t, err)
	server := <-servers
	assert.EqualValues(t, 1001, client.ClientID())
	for _, pair := range [][2]*Peer{{client, server}, {server, client}} {
		p := pair[0]
		data, err := p.Call(t.Context(), "echo", []byte("hi"))
		assert.NoError(t, err)
		assert.Equal(t, "hi", string(data))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = p.Call(ctx, "wait", nil)
		assert.ErrorIs(t, err, context.Canceled)
		assert.EqualError(t, p.Publish(t.Context(), "topic", nil), "no topic")
		assert.NoError(t, p.Register(t.Context(), "m"))
		s, err := p.Open(t.Context(), "name", []byte("meta"))
		require.NoError(t, err)
		s.Write([]byte("raw"))
		assert.Equal(t, "raw", <-got)
		assert.NoError(t, s.Dismiss(t.Context()))
	}
	time.Sleep(time.Minute)
	assert.Equal(t, io.EOF, client.Shut(t.Context()))
	<-server.done
	assert.Equal(t, io.EOF, server.Err())
	assert.Zero(t, client.Lost()+server.Lost())
}

func TestRefusal(t *testing.T) {
	cc, sc := net.Pipe()
	go Accept(sc, Config{Refuse: "not today"})
	_, err := Dial(cc, Config{})
	assert.EqualError(t, err, "not today")
}
