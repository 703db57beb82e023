package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
)

// newServe returns the command serve.
func newServe(s *settings) *cobra.Command {
	var command, inspected string
	cmd := &cobra.Command{
		Use:   "serve URL",
		Short: "serve: echo calls and streams, print messages",
		Long: `serve listens at a URL. It answers each call with the data of the request, or with the
standard output of the command of --exec, which gets the data as its standard input and the
method as its last argument. It copies the bytes of each stream back, and prints and
acknowledges messages. Clients of ws and wss need the path of the URL.`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nl, addr, stop, err := s.listen(args[0])
			if err != nil {
				return err
			}
			defer stop()
			sv := &serving{out: cmd.OutOrStdout(), log: cmd.ErrOrStderr(), command: command}
			opts := server.NewEndOptions()
			opts.SetHijack(sv.answer)
			l, err := server.NewListener(nl, opts)
			if err != nil {
				return err
			}
			if inspected != "" {
				stop, err := serveInspect(sv.log, inspected, l.(*server.Server))
				if err != nil {
					l.Close()
					return err
				}
				defer stop()
			}
			fmt.Fprintf(sv.log, "listening at %s\n", addr)
			unwatch := context.AfterFunc(cmd.Context(), func() { l.Close() })
			defer unwatch()
			return sv.accept(l)
		},
	}
	cmd.Flags().StringVar(&command, "exec", "", "command whose output answers calls")
	cmd.Flags().StringVar(&inspected, "inspect", "", "serve the pages of the connections over HTTP at this host:port, which must not be public")
	return cmd
}

// serveInspect serves the pages of package inspect. stop ends that.
func serveInspect(log io.Writer, addr string, srv *server.Server) (stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(inspectPath, &inspect.Handler{Sources: []inspect.Source{srv}})
	site := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { site.Serve(l) })
	fmt.Fprintf(log, "inspect at http://%s%s\n", l.Addr(), inspectPath)
	return func() {
		site.Close()
		wg.Wait()
	}, nil
}

// serving is the state of the command serve.
type serving struct {
	log     io.Writer
	command string

	mu  sync.Mutex // guards out
	out io.Writer
}

// accept serves the Ends of l until l is closed, and closes them then.
func (sv *serving) accept(l server.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		end, err := l.AcceptEnd()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() { sv.serve(ctx, end) })
	}
}

// serve serves one End until it ends.
func (sv *serving) serve(ctx context.Context, end geminio.End) {
	unwatch := context.AfterFunc(ctx, func() { end.Close() })
	defer unwatch()
	defer end.Close()
	fmt.Fprintf(sv.log, "client %d has connected from %s\n", end.ClientID(), end.RemoteAddr())
	go func() {
		for {
			stream, err := end.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				if _, err := io.Copy(stream, stream); err == nil {
					geminio.CloseWrite(stream)
				}
			}()
		}
	}()
	for {
		m, err := end.Receive(ctx)
		if err != nil {
			fmt.Fprintf(sv.log, "client %d has left\n", end.ClientID())
			return
		}
		sv.mu.Lock()
		err = printMessage(sv.out, m, false)
		sv.mu.Unlock()
		if err != nil {
			m.Error(err)
			return
		}
		m.Done()
	}
}

// answer answers a call.
func (sv *serving) answer(ctx context.Context, method string, req geminio.Request, rsp geminio.Response) {
	if sv.command == "" {
		rsp.SetData(req.Data())
		return
	}
	out, err := sv.run(ctx, method, req.Data())
	if err != nil {
		rsp.SetError(err)
		return
	}
	rsp.SetData(out)
}
