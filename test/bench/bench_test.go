package bench

import (
	"context"
	"io"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

func ends(b testing.TB) (c, s geminio.End) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	if c, err = client.NewEnd("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if s, err = l.AcceptEnd(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

func rawPair(b testing.TB) (c, s net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if c, err = net.Dial("tcp", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	if s, err = l.Accept(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// against runs ours and raw in turns, n operations each at a time, and reports
// what one of ours takes, and our pace as a share of the other's.
func against(b *testing.B, n int, raw, ours func(n int)) {
	raw(n)
	ours(n)
	var tRaw, tOurs time.Duration
	rounds := 0
	for b.Loop() {
		start := time.Now()
		raw(n)
		middle := time.Now()
		ours(n)
		tRaw += middle.Sub(start)
		tOurs += time.Since(middle)
		rounds++
	}
	b.ReportMetric(float64(tOurs)/float64(rounds*n), "ns/op")
	b.ReportMetric(float64(tRaw)/float64(tOurs), "of-raw")
}

// pingPong returns a function that sends n times 256 bytes over raw TCP and reads
// as many back.
func pingPong(b *testing.B) func(n int) {
	c, s := rawPair(b)
	go func() {
		p := make([]byte, 256)
		for {
			if _, err := io.ReadFull(s, p); err != nil {
				return
			}
			s.Write(p)
		}
	}()
	p := make([]byte, 256)
	return func(n int) {
		for range n {
			c.Write(p)
			io.ReadFull(c, p)
		}
	}
}

// BenchmarkCall is one call in flight, beside a ping-pong of the same size.
func BenchmarkCall(b *testing.B) {
	c, s := ends(b)
	s.Register(b.Context(), "echo", echo)
	p := make([]byte, 256)
	against(b, 500, pingPong(b), func(n int) {
		for range n {
			if _, err := c.Call(context.Background(), "echo", c.NewRequest(p)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCalls64 is 64 callers on one connection, with answers of two sizes.
func BenchmarkCalls64(b *testing.B) {
	for _, size := range []int{256, 4096} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			c, s := ends(b)
			data := make([]byte, size)
			s.Register(b.Context(), "echo", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData(data) })
			p := make([]byte, 256)
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Call(context.Background(), "echo", c.NewRequest(p)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// acknowledge answers all messages that come to end.
func acknowledge(end geminio.End) {
	for {
		m, err := end.Receive(context.Background())
		if err != nil {
			return
		}
		m.Done()
	}
}

// BenchmarkMessage is one acked message in flight, beside a ping-pong.
func BenchmarkMessage(b *testing.B) {
	c, s := ends(b)
	go acknowledge(s)
	p := make([]byte, 128)
	against(b, 500, pingPong(b), func(n int) {
		for range n {
			if err := c.Publish(context.Background(), c.NewMessage(p)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMessages64 is 64 publishers of acked messages on one connection.
func BenchmarkMessages64(b *testing.B) {
	c, s := ends(b)
	go acknowledge(s)
	p := make([]byte, 128)
	b.ReportAllocs()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.Publish(context.Background(), c.NewMessage(p)); err != nil {
				b.Error(err)
			}
		}
	})
}

// push returns a function that writes n times 128 KiB to w and returns when all
// of it was read from r.
func push(b *testing.B, w io.Writer, r io.Reader) func(n int) {
	const size = 128 << 10
	arrived := make(chan int, 1<<10)
	go func() {
		q := make([]byte, size)
		for {
			n, err := r.Read(q)
			if err != nil {
				close(arrived)
				return
			}
			arrived <- n
		}
	}()
	p := make([]byte, size)
	return func(n int) {
		go func() {
			for range n {
				if _, err := w.Write(p); err != nil {
					b.Error(err)
					return
				}
			}
		}()
		for left := n * size; left > 0; {
			got, ok := <-arrived
			if !ok {
				b.Fatal("the reader has ended")
			}
			left -= got
		}
	}
}

// BenchmarkBulk is one stream, beside one raw connection.
func BenchmarkBulk(b *testing.B) {
	c, s := ends(b)
	out, err := c.OpenStream()
	if err != nil {
		b.Fatal(err)
	}
	in, err := s.AcceptStream()
	if err != nil {
		b.Fatal(err)
	}
	rc, rs := rawPair(b)
	against(b, 500, push(b, rc, rs), push(b, out, in))
}

// BenchmarkSmallWrites is 64 bytes a Write on one stream.
func BenchmarkSmallWrites(b *testing.B) {
	c, s := ends(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		q := make([]byte, 64<<10)
		for {
			if _, err := s.Read(q); err != nil {
				return
			}
		}
	}()
	p := make([]byte, 64)
	b.SetBytes(64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
}

// BenchmarkOpen opens a stream, writes a byte and closes it, one by one and by 64
// at once.
func BenchmarkOpen(b *testing.B) {
	run := func(b *testing.B, c geminio.End) {
		st, err := c.OpenStream()
		if err != nil {
			b.Error(err)
			return
		}
		st.Write([]byte{1})
		st.Close()
	}
	c, s := ends(b)
	go func() {
		p := make([]byte, 16)
		for {
			st, err := s.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				st.Read(p)
				st.Read(p)
				st.Close()
			}()
		}
	}()
	b.Run("1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b, c)
		}
	})
	b.Run("64", func(b *testing.B) {
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run(b, c)
			}
		})
	})
}
