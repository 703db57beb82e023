package main

// Tests of each side against a misbehaving other side, and of the verdict.

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/options"
)

func TestVerdict(t *testing.T) {
	good := func() *result {
		sum := strings.Repeat("ab", 32)
		return &result{offer: offer{Name: "x", Size: 3}, sent: tally{3, sum}, received: tally{3, sum}, took: time.Second}
	}
	require.NoError(t, good().verdict())
	assert.Contains(t, good().String(), "identical")
	for name, spoil := range map[string]func(*result){
		"corrupted": func(r *result) { r.received.SHA256 = strings.Repeat("ac", 32) },
		"no sum":    func(r *result) { r.sent.SHA256 = "" },
		"truncated": func(r *result) { r.received.Size-- },
		"too long":  func(r *result) { r.received.Size++ },
		"grown":     func(r *result) { r.Size-- },
	} {
		r := good()
		spoil(r)
		require.Error(t, r.verdict(), name)
		assert.Contains(t, r.String(), r.verdict().Error())
	}
}

// quiet returns a log that discards its entries.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// badServer accepts one client, answers that it begins at the offset, calls do, and shuts its
// End down. The shutdown waits for the answer, and for the streams of do.
func badServer(t *testing.T, offset string, do func(geminio.End)) (addr string) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l, err := listen(nl, &cli.Tokens{}, quiet())
	require.NoError(t, err)
	over := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-over
	})
	go func() {
		defer close(over)
		end, err := l.AcceptEnd()
		if !assert.NoError(t, err) {
			return
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), proc.Forever)
			defer cancel()
			geminio.Shutdown(ctx, end)
		}()
		begun := make(chan struct{})
		err = end.Register(context.Background(), methodBegin, func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData([]byte(`{"offset":` + offset + `}`))
			close(begun)
		})
		if assert.NoError(t, err) {
			<-begun
			do(end)
		}
	}()
	return l.Addr().String()
}

// leaveAtSum sends the end of s, and closes the End when the client asks for the sum of s.
func leaveAtSum(t *testing.T, end geminio.End, s geminio.Stream) {
	err := s.Register(context.Background(), methodSum, func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		go end.Close()
		<-ctx.Done()
	})
	assert.NoError(t, err)
	assert.NoError(t, geminio.CloseWrite(s))
	<-geminio.Done(end)
}

// offerSome opens a stream with that meta and writes data to it.
func offerSome(t *testing.T, end geminio.End, meta, data string) geminio.Stream {
	opt := options.OpenStream()
	opt.SetMeta([]byte(meta))
	s, err := end.OpenStream(opt)
	if assert.NoError(t, err) && data != "" {
		_, err = io.WriteString(s, data)
		assert.NoError(t, err)
	}
	return s
}

// runReceiver runs a client in this process.
func runReceiver(args ...string) (code int, said string) {
	var out bytes.Buffer
	r := newReceiver()
	r.Stdout, r.Stderr = &out, &out
	code = r.Main(args, r.run)
	return code, out.String()
}

func TestReceiveFromBadServer(t *testing.T) {
	const meta = `{"name":"evil\u001b[2J","size":5,"offset":0}`
	answer := func(t *testing.T, s geminio.Stream, sent tally) {
		err := s.Register(context.Background(), methodSum, answerSum(sent, make(chan tally, 1)))
		assert.NoError(t, err)
		assert.NoError(t, geminio.CloseWrite(s))
		io.Copy(io.Discard, s)
	}
	for name, c := range map[string]struct {
		want   string
		offset string
		left   []string
		do     func(*testing.T, geminio.End)
	}{
		"corrupts": {"the copy differs: sent " + sumOf([]byte("12345")), "0", nil, func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "12354"), tally{5, sumOf([]byte("12345"))})
		}},
		"loses": {"5 bytes were sent, 4 were received", "0", nil, func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "1234"), tally{5, sumOf([]byte("12345"))})
		}},
		"sends less": {"of 5 bytes 4 were sent", "0", nil, func(t *testing.T, end geminio.End) {
			answer(t, offerSome(t, end, meta, "1234"), tally{4, sumOf([]byte("1234"))})
		}},
		"has no sum": {"no such rpc: sum", "0", []string{"copy.part"}, func(t *testing.T, end geminio.End) {
			s := offerSome(t, end, meta, "12345")
			assert.NoError(t, geminio.CloseWrite(s))
			io.Copy(io.Discard, s)
		}},
		"leaves": {"4 of 5 bytes, asking for its sum: the other side has closed the connection", "0", []string{"copy.part"}, func(t *testing.T, end geminio.End) {
			leaveAtSum(t, end, offerSome(t, end, meta, "1234"))
		}},
		"offers nothing": {"the meta of the stream", "0", nil, func(t *testing.T, end geminio.End) {
			io.Copy(io.Discard, offerSome(t, end, "", ""))
		}},
		"is silent":        {"left before it pushed", "0", nil, func(*testing.T, geminio.End) {}},
		"begins elsewhere": {"begins at byte 3 of a part of 0", "3", nil, func(*testing.T, geminio.End) {}},
		"begins before":    {"begins at byte -1 of a part of 0", "-1", nil, func(*testing.T, geminio.End) {}},
		"pushes elsewhere": {"from byte 3 on, and not from 0", "0", nil, func(t *testing.T, end geminio.End) {
			io.Copy(io.Discard, offerSome(t, end, `{"name":"x","size":5,"offset":3}`, ""))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			addr := badServer(t, c.offset, func(end geminio.End) { c.do(t, end) })
			dir := t.TempDir()
			code, said := runReceiver("-connect", addr, "-o", filepath.Join(dir, "copy"))
			assert.Equal(t, 1, code)
			assert.Contains(t, said, c.want)
			assert.NotContains(t, said, "\x1b")
			only(t, dir, c.left...)
		})
	}
}

func TestOldFileStaysUntilVerified(t *testing.T) {
	addr := badServer(t, "0", func(end geminio.End) { leaveAtSum(t, end, offerSome(t, end, `{"name":"x","size":5}`, "1234")) })
	path := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	code, said := runReceiver("-connect", addr, "-o", path)
	assert.Equal(t, 1, code, said)
	same(t, []byte("old"), path)
}

// A client that begins twice, and a client that reports a wrong part.
func TestBadReceiver(t *testing.T) {
	path, data := newFile(t, 1000)
	s, addr := serve(t, path)
	end, stream := connectTo(t, addr)
	for _, question := range []string{`{"size":0}`, `{"size":-1}`, `nonsense`} {
		_, err := end.Call(t.Context(), methodBegin, end.NewRequest([]byte(question)))
		assert.ErrorAs(t, err, new(*geminio.RemoteError), question)
	}
	got, err := io.ReadAll(stream)
	require.NoError(t, err)
	assert.Equal(t, data, got)
	end.Close()
	s.Expect("the receiver left without telling its sum|the other side has closed")
	stop(t, s)
}

// lines is a writer that sends the printed text to a channel.
type lines struct{ c chan string }

func (l lines) Write(p []byte) (int, error) {
	l.c <- string(p)
	return len(p), nil
}

func TestServeCutsOffAfterGrace(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path, _ := newFile(t, 32<<20)
	printed := lines{make(chan string, 10)}
	s := newSender()
	s.Stdout, s.Stderr, s.grace = printed, io.Discard, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan int, 1)
	go func() {
		served <- s.Main([]string{"-listen", "127.0.0.1:0", path}, func(context.Context) error { return s.run(ctx) })
	}()
	line := strings.TrimSpace(<-printed.c)
	end, _ := connectTo(t, line[strings.LastIndex(line, " ")+1:]) // the client reads nothing
	defer end.Close()
	cancel()
	select {
	case code := <-served:
		assert.Equal(t, 1, code)
	case <-time.After(proc.Forever):
		t.Fatal("the server does not stop")
	}
}

func TestDemoLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path, _ := newFile(t, 1<<20+1)
	var out bytes.Buffer
	p := cli.New("filepush demo", "")
	p.Stdout, p.Stderr = &out, &out
	code := p.Main([]string{path}, func(ctx context.Context) error { return demo(ctx, p) })
	assert.Zero(t, code, out.String())
	assert.Contains(t, out.String(), "identical")
}

func TestNoProgressWithoutTerminal(t *testing.T) {
	bar := newProgress(nil, offer{Name: "x", Size: 5})
	require.Nil(t, bar)
	n, err := bar.Write([]byte("12345"))
	require.NoError(t, err)
	require.Equal(t, 5, n)
	bar.end()
}
