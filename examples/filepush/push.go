package main

// The sending side of one push: it opens a stream to the client and copies the file into it.

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// push waits until the client of end reports the part that it has of the file at path,
// opens a stream, copies the rest into it, and exchanges sums with the client. It returns a
// result also if the sums differ; see verdict.
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
	r := &result{offer: offer{Name: filepath.Base(path), Size: info.Size()}}
	sum := sha256.New()
	if r.Offset, err = awaitBegin(ctx, end, file, info.Size(), sum); err != nil {
		return nil, err
	}

	// The meta of a stream arrives before its first byte.
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

	// A stream is a net.Conn, so io.Copy works.
	n, err := io.Copy(stream, io.TeeReader(file, sum))
	if err != nil {
		return nil, fmt.Errorf("pushing %q: after %d of %d bytes: %w", r.Name, r.Offset+n, r.Size, why(end, err))
	}
	r.sent = newTally(r.Offset+n, sum)

	// A stream is also an RPC peer: now that the sum is known, the client may ask for
	// it. Register returns when the client has confirmed the method. The client calls it
	// after it has read io.EOF, which CloseWrite causes.
	asked := make(chan tally, 1)
	if err := stream.Register(ctx, methodSum, answerSum(r.sent, asked)); err != nil {
		return nil, fmt.Errorf("offering the sum: %w", why(end, err))
	}
	if err := geminio.CloseWrite(stream); err != nil {
		return nil, fmt.Errorf("ending %q: %w", r.Name, why(end, err))
	}

	// The client sends no bytes, and closes the stream when it has the sum.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return nil, fmt.Errorf("waiting for the receiver: %w", why(end, err))
	}
	r.took = time.Since(start)
	select {
	case r.received = <-asked:
		return r, nil
	default:
		return nil, errors.New("the receiver left without telling its sum")
	}
}

// awaitBegin waits for the call of methodBegin. It returns the number of bytes of the file that
// the client already has. It has read these from file and added them to sum.
func awaitBegin(ctx context.Context, end geminio.End, file *os.File, size int64, sum hash.Hash) (int64, error) {
	type outcome struct {
		offset int64
		err    error
	}
	begun := make(chan outcome, 1)
	var asked atomic.Bool
	err := end.Register(ctx, methodBegin, func(_ context.Context, req geminio.Request, resp geminio.Response) {
		has, err := readTally(req.Data())
		if err != nil {
			resp.SetError(fmt.Errorf("the request of %q: %w", methodBegin, err))
			return
		}
		if asked.Swap(true) {
			resp.SetError(errors.New("this push has begun already"))
			return
		}
		offset, err := common(file, size, has, sum)
		begun <- outcome{offset, err}
		data, _ := json.Marshal(beginning{offset}) // cannot fail
		resp.SetData(data)
		resp.SetError(err)
	})
	if err != nil {
		return 0, fmt.Errorf("offering to begin: %w", why(end, err))
	}
	select {
	case o := <-begun:
		return o.offset, o.err
	case <-geminio.Done(end):
		return 0, fmt.Errorf("the receiver left before it began: %w", why(end, io.EOF))
	}
}

// common returns how many bytes of the file the client already has: has.Size if its part is the
// beginning of the file, and otherwise 0. It has read these bytes from file and added them to
// sum.
func common(file *os.File, size int64, has tally, sum hash.Hash) (int64, error) {
	if has.Size == 0 || has.Size > size {
		return 0, nil
	}
	if _, err := io.CopyN(sum, file, has.Size); err != nil {
		return 0, err
	}
	if newTally(has.Size, sum) == has {
		return has.Size, nil
	}
	sum.Reset()
	_, err := file.Seek(0, io.SeekStart)
	return 0, err
}

// answerSum returns an RPC that answers with the tally of the sent bytes, and puts the tally of
// the received bytes into asked.
func answerSum(sent tally, asked chan<- tally) geminio.RPC {
	return func(_ context.Context, req geminio.Request, resp geminio.Response) {
		received, err := readTally(req.Data())
		if err != nil {
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
		default: // a repeated call
		}
	}
}

// settle is how long the end of a connection may come after that of its streams.
const settle = time.Second

// why returns the cause of the end of the connection, if it has ended, and otherwise err.
func why(end geminio.End, err error) error {
	if errors.As(err, new(*geminio.RemoteError)) {
		return err // an error of the other side
	}
	select {
	case <-geminio.Done(end):
	case <-time.After(settle):
		return err
	}
	cause := geminio.Cause(end)
	switch {
	case cause == io.EOF:
		return errors.New("the other side has closed the connection")
	case errors.Is(cause, io.ErrUnexpectedEOF), errors.Is(cause, syscall.ECONNRESET):
		return fmt.Errorf("the other side has died, or the connection was cut (%w)", cause)
	}
	return fmt.Errorf("the connection is lost: %w", cause)
}
