package main

// The serving side: it listens, opens a stream to each client that connects, and
// copies the file into it.

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// halfCloser and shutdowner are what the streams and the listener can do beside
// their interfaces.
type (
	halfCloser interface{ CloseWrite() error }
	shutdowner interface{ Shutdown(context.Context) error }
)

// push opens a stream to the client at the other side of end, copies the file at
// path into it, and exchanges sums with the client. The result is there even if
// the sums differ: its verdict says so.
func push(ctx context.Context, end geminio.End, path string) (*result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}

	// The meta of a stream is there before its first byte.
	r := &result{offer: offer{Name: filepath.Base(path), Size: info.Size()}}
	meta, err := json.Marshal(r.offer)
	if err != nil {
		return nil, err
	}
	opt := options.OpenStream()
	opt.SetMeta(meta)
	start := time.Now()
	stream, err := end.OpenStream(opt)
	if err != nil {
		return nil, fmt.Errorf("opening a stream: %w", err)
	}
	defer stream.Close()

	// A stream is a net.Conn: any io.Copy will do.
	sum := sha256.New()
	n, err := io.Copy(stream, io.TeeReader(file, sum))
	if err != nil {
		return nil, fmt.Errorf("pushing %q: after %d of %d bytes: %w", r.Name, n, r.Size, err)
	}
	r.sent = newTally(n, sum)

	// It is an RPC peer as well: now that the sum is known, the client may ask for
	// it. Register returns when the client has taken note, CloseWrite lets it read
	// io.EOF, so it will not ask too early.
	asked := make(chan tally, 1)
	if err := stream.Register(ctx, methodSum, answerSum(r.sent, asked)); err != nil {
		return nil, fmt.Errorf("offering the sum: %w", err)
	}
	if err := stream.(halfCloser).CloseWrite(); err != nil {
		return nil, fmt.Errorf("ending %q: %w", r.Name, err)
	}

	// The client sends no bytes, it closes the stream when it has the sum.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, fmt.Errorf("waiting for the receiver: %w", err)
	}
	r.took = time.Since(start)
	select {
	case r.received = <-asked:
		return r, nil
	default:
		return nil, errors.New("the receiver left without telling its sum")
	}
}

// answerSum is an RPC that gives what was sent for what was received, which
// it puts into asked.
func answerSum(sent tally, asked chan<- tally) geminio.RPC {
	return func(_ context.Context, req geminio.Request, resp geminio.Response) {
		var received tally
		if err := json.Unmarshal(req.Data(), &received); err != nil {
			resp.SetError(fmt.Errorf("the request of %q: %w", methodSum, err))
			return
		}
		data, err := json.Marshal(sent)
		if err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData(data)
		select {
		case asked <- received:
		default: // asked before
		}
	}
}

// serve pushes the file to every client that connects. When ctx ends, it lets
// the pushes that are under way end and returns.
func (a *app) serve(ctx context.Context) error {
	if err := checkFile(a.path); err != nil {
		return err
	}
	conf, err := serverTLS(a.cert, a.key)
	if err != nil {
		return err
	}
	listener, err := listen(a.serveAddr, conf, a.log)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintf(a.stdout, "serving %q on %s\n", a.path, listener.Addr())

	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var pushes sync.WaitGroup
	for {
		end, acceptErr := listener.AcceptEnd()
		if acceptErr != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("accepting on %s: %w", listener.Addr(), acceptErr)
			}
			break
		}
		pushes.Go(func() { a.pushTo(end) })
	}

	fmt.Fprintln(a.stdout, "stopping after the pushes that are under way")
	return errors.Join(err, a.drain(listener, &pushes))
}

// pushTo serves one client. Its failure is not the server's.
func (a *app) pushTo(end geminio.End) {
	defer end.Close()
	log := a.log.With("client", end.ClientID(), "remote", end.RemoteAddr())
	log.Info("client connected")
	r, err := push(context.Background(), end, a.path)
	if err != nil {
		log.Error("push failed", "err", err)
		return
	}
	fmt.Fprintf(a.stdout, "pushed %q to %s\n%s", r.Name, end.RemoteAddr(), r)
}

// drain waits for the pushes, and cuts off those that take longer than the
// grace.
//
// Shutdown alone would not do: it lets no call begin any more, and a push ends
// with one. So the listener, which is closed, is shut down after the pushes; with
// a context that is over, it closes at once what is left.
func (a *app) drain(listener server.Listener, pushes *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeout(context.Background(), a.grace)
	defer cancel()
	shutdown := func() { geminio.Shutdown(ctx, listener) }
	stop := context.AfterFunc(ctx, shutdown)
	pushes.Wait()
	if !stop() {
		return fmt.Errorf("some pushes were cut off after %v", a.grace)
	}
	shutdown()
	return nil
}

// listen makes a listener for Ends, over TLS if there is a configuration for it.
func listen(addr string, conf *tls.Config, log *slog.Logger) (server.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	opt := server.NewEndOptions()
	opt.SetLogger(log)
	return server.NewListener(l, opt)
}

// checkFile reports early what cannot be pushed.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}
