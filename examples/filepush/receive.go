package main

// The receiving side: it connects, accepts the stream that the server opens, and
// copies the file out of it.

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
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
)

// dialTimeout is how long a connection and its TLS handshake may take.
const dialTimeout = 10 * time.Second

// receive accepts the stream that the server opens, copies the file out of it
// into file, and exchanges sums with the server. The result is there even if the
// sums differ: its verdict says so.
func receive(ctx context.Context, end geminio.End, file, stderr io.Writer) (*result, error) {
	// An End is a net.Listener, even at the side that has dialled.
	conn, err := end.Accept()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the server left before it pushed anything")
	}
	if err != nil {
		return nil, fmt.Errorf("accepting a stream: %w", err)
	}
	stream := conn.(geminio.Stream)
	defer stream.Close()

	r := &result{}
	start := time.Now()
	if err := json.Unmarshal(stream.Meta(), &r.offer); err != nil {
		return nil, fmt.Errorf("the meta of the stream: %w", err)
	}
	bar := newProgress(stderr, r.offer)
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum, bar), stream)
	bar.end()
	if err != nil {
		return nil, fmt.Errorf("receiving %q: after %d of %d bytes: %w", r.Name, n, r.Size, err)
	}
	r.received = newTally(n, sum)

	// io.EOF came: the server's sum is there to be asked for.
	data, err := json.Marshal(r.received)
	if err != nil {
		return nil, err
	}
	resp, err := stream.Call(ctx, methodSum, stream.NewRequest(data))
	if err != nil {
		return nil, fmt.Errorf("asking for the sum of %q, of which %d of %d bytes came: %w", r.Name, n, r.Size, err)
	}
	if err := json.Unmarshal(resp.Data(), &r.sent); err != nil {
		return nil, fmt.Errorf("the sum of %q: %w", r.Name, err)
	}
	r.took = time.Since(start)
	return r, nil
}

// connect receives from a server, into the output file if there is to be one.
func (a *app) connect(ctx context.Context) error {
	conf, err := clientTLS(a.ca, a.insecure)
	if err != nil {
		return err
	}
	var file io.Writer = io.Discard
	var part *partFile
	if a.output != "" {
		if part, err = createPart(a.output); err != nil {
			return err
		}
		defer part.discard()
		file = part
	}

	end, err := dial(ctx, a.connectAddr, conf, a.log)
	if err != nil {
		return err
	}
	defer end.Close()
	defer closeWith(ctx, end)()
	r, err := receive(ctx, end, file, a.stderr)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}

	fmt.Fprintf(a.stdout, "received %q from %s\n%s", r.Name, end.RemoteAddr(), r)
	if err := r.verdict(); err != nil || part == nil {
		return err
	}
	if err := part.keep(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "  file      %s\n", a.output)
	return nil
}

// dial connects an End to a server, over TLS if there is a configuration for it.
func dial(ctx context.Context, addr string, conf *tls.Config, log *slog.Logger) (geminio.End, error) {
	dialer := func() (net.Conn, error) {
		d := &net.Dialer{Timeout: dialTimeout}
		if conf == nil {
			return d.DialContext(ctx, "tcp", addr)
		}
		return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", addr)
	}
	opt := client.NewEndOptions()
	opt.SetLogger(log)
	end, err := client.NewEndWithDialer(dialer, opt)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return end, nil
}

// partFile is a file that stands beside its path until it is kept.
type partFile struct {
	*os.File
	path string
}

// createPart creates the file that is to appear at path.
func createPart(path string) (*partFile, error) {
	// The rename would replace anything, a device too.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	name := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &partFile{file, path}, nil
}

// keep gives the file its name.
func (p *partFile) keep() error {
	if err := p.Close(); err != nil {
		return err
	}
	return os.Rename(p.Name(), p.path)
}

// discard removes the file, unless it was kept.
func (p *partFile) discard() {
	p.Close()
	os.Remove(p.Name())
}
