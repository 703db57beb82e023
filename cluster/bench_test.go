package cluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/options"
)

// BenchmarkCall compares a call of a client of this node, of one of another node over NATS ("remote", for 100 KiB
// over the direct connection) and always over the direct connection ("direct"), and a request to a responder of
// plain NATS, over TCP.
func BenchmarkCall(b *testing.B) {
	s := natsServer(b, embed.Options{Listen: "127.0.0.1:-1"})
	near, far := join(b, connectURL(b, s), cluster.Options{}), join(b, connectURL(b, s), cluster.Options{})
	direct := join(b, connectURL(b, s), cluster.Options{DirectSize: 1})
	near.dial(1, echo)
	far.dial(2, echo)
	settled(b, 1, near, near)
	settled(b, 2, far, near, direct)
	responder := connectURL(b, s)
	_, err := responder.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) })
	require.NoError(b, err)
	require.NoError(b, responder.Flush())
	small, large := make([]byte, 100), make([]byte, 100<<10)
	call := func(h *host, id uint64, data []byte) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := h.Call(ctx, id, "echo", data)
			return err
		}
	}
	for _, c := range []struct {
		name string
		f    func(context.Context) error
	}{
		{"100B/local", call(near, 1, small)},
		{"100B/remote", call(near, 2, small)},
		{"100B/direct", call(direct, 2, small)},
		{"100B/NATS", func(ctx context.Context) error {
			_, err := near.nc.RequestWithContext(ctx, "echo", small)
			return err
		}},
		{"100KiB/local", call(near, 1, large)},
		{"100KiB/remote", call(near, 2, large)},
		{"100KiB/NATS", func(ctx context.Context) error {
			_, err := near.nc.RequestWithContext(ctx, "echo", large)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.f(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBroadcast compares a broadcast to a thousand clients on three nodes with three loops that publish
// to the clients of one node each. It waits until all clients have received the message.
func BenchmarkBroadcast(b *testing.B) {
	const clients = 999
	s := natsServer(b, embed.Options{Listen: "127.0.0.1:-1"})
	var hosts []*host
	for range 3 {
		hosts = append(hosts, join(b, connectURL(b, s), cluster.Options{}))
	}
	received := make(chan struct{}, clients)
	for id := range uint64(clients) {
		end := hosts[id%3].dial(id + 1)
		require.NoError(b, hosts[0].JoinGroup(b.Context(), id+1, "g"))
		go func() {
			for {
				if _, err := end.Receive(context.Background()); err != nil {
					return
				}
				received <- struct{}{}
			}
		}()
	}
	for _, h := range hosts {
		eventually(b, "all clients and members are known", func() bool {
			return h.Stats().Clients == clients && len(h.Members("g")) == clients
		})
	}
	data := make([]byte, 100)
	atMostOnce := options.NewMessage()
	atMostOnce.SetCnss(options.CnssAtMostOnce)
	all := func() {
		for range clients {
			<-received
		}
	}
	b.Run("broadcast", func(b *testing.B) {
		for b.Loop() {
			if _, err := hosts[0].Broadcast(b.Context(), "g", "t", data); err != nil {
				b.Fatal(err)
			}
			all()
		}
	})
	b.Run("loops", func(b *testing.B) {
		for b.Loop() {
			for _, h := range hosts {
				go func() {
					for end := range h.l.Ends() {
						end.Publish(b.Context(), end.NewMessage(data, atMostOnce))
					}
				}()
			}
			all()
		}
	})
}
