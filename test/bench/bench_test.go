package bench

import (
	"context"
	"io"
	"net"
	"testing"

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

func BenchmarkCall(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
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
		for b.Loop() {
			c.Write(p)
			io.ReadFull(c, p)
		}
	})
	b.Run("geminio", func(b *testing.B) {
		c, s := ends(b)
		s.Register(b.Context(), "echo", echo)
		p := make([]byte, 256)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Call(context.Background(), "echo", c.NewRequest(p)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCalls64(b *testing.B) {
	for _, size := range []int{256, 4096} {
		b.Run(map[int]string{256: "256", 4096: "4096"}[size], func(b *testing.B) {
			c, s := ends(b)
			data := make([]byte, size)
			s.Register(b.Context(), "echo", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData(data) })
			p := make([]byte, 256)
			b.SetParallelism(32)
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

func BenchmarkMessage(b *testing.B) {
	run := func(b *testing.B, n int) {
		c, s := ends(b)
		go func() {
			for {
				m, err := s.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		}()
		p := make([]byte, 128)
		b.ReportAllocs()
		if n == 1 {
			for b.Loop() {
				if err := c.Publish(context.Background(), c.NewMessage(p)); err != nil {
					b.Fatal(err)
				}
			}
			return
		}
		b.SetParallelism(n / 2)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := c.Publish(context.Background(), c.NewMessage(p)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("1", func(b *testing.B) { run(b, 1) })
	b.Run("64", func(b *testing.B) { run(b, 64) })
}

func bulk(b *testing.B, w io.WriteCloser, r io.Reader) {
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	done := make(chan int64)
	go func() {
		q := make([]byte, 128<<10)
		var total int64
		for {
			n, err := r.Read(q)
			total += int64(n)
			if err != nil {
				break
			}
		}
		done <- total
	}()
	sent := int64(0)
	for b.Loop() {
		n, err := w.Write(p)
		sent += int64(n)
		if err != nil {
			b.Fatal(err)
		}
	}
	w.Close()
	if got := <-done; got != sent {
		b.Fatalf("sent %d, got %d", sent, got)
	}
}

func BenchmarkBulk(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		c, s := rawPair(b)
		bulk(b, c, s)
	})
	b.Run("geminio", func(b *testing.B) {
		c, s := ends(b)
		st, err := c.OpenStream()
		if err != nil {
			b.Fatal(err)
		}
		ss, err := s.AcceptStream()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		bulk(b, st, ss)
	})
}

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
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				run(b, c)
			}
		})
	})
}
