package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
)

// settings are the flags of all commands.
type settings struct {
	timeout  time.Duration
	clientID uint64
	meta     string
	headers  []string
	metadata []string
	hello    []string
	tls      tlsSettings
}

// newRoot returns the command geminio with all of its commands.
func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "geminio",
		Short: "talk to servers of the geminio library",
		Long: `geminio talks to servers of the geminio library.

A server is named by a URL: tcp://host:port, tls://host:port, unix:///path,
ws://host/path or wss://host/path. An address without a scheme stands for tcp.

The exit status is 0 for success, 1 for an error of the other side's handler
or any other error, 2 for wrong usage, 3 if there is no connection, and 4 if
the time was over.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.DurationVar(&s.timeout, "timeout", 10*time.Second, "time for connecting, and for each call and publication; 0: no limit")
	flags.Uint64Var(&s.clientID, "id", 0, "client id; 0: the server chooses")
	flags.StringVar(&s.meta, "meta", "", "meta of the client, which the server's hook sees")
	flags.StringArrayVarP(&s.headers, "header", "H", nil, `header of the request of ws, wss and inspect, as "Name: value"; may be repeated`)
	flags.StringArrayVar(&s.metadata, "metadata", nil, `metadata of calls and messages, as "key=value"; may be repeated`)
	flags.StringArrayVar(&s.hello, "handshake", nil, `metadata of the handshake, such as a token, as "key=value"; may be repeated`)
	s.tls.register(flags)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newPing(s), newCall(s), newPublish(s), newReceive(s), newServe(s), newPipe(s), newBench(s), newInspect(s),
	)
	return root
}

// args is like cobra.RangeArgs, with a usageError.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.RangeArgs(least, most)(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// connect returns an End over a connection to a URL.
func (s *settings) connect(ctx context.Context, url string) (geminio.End, error) {
	dialer, err := s.dialer(ctx, url)
	if err != nil {
		return nil, usageError{err}
	}
	hello, err := pairs("handshake", s.hello)
	if err != nil {
		return nil, err
	}
	opts := client.NewEndOptions()
	opts.SetMetadata(hello)
	if s.clientID != 0 {
		opts.SetClientID(s.clientID)
	}
	if s.meta != "" {
		opts.SetMeta([]byte(s.meta))
	}
	if s.timeout > 0 {
		opts.SetHandshakeTimeout(min(max(s.timeout, time.Millisecond), 8760*time.Hour)) // what the option accepts
	}
	end, err := client.NewEndWithDialer(dialer, opts)
	if err != nil {
		return nil, connectError{err}
	}
	return end, nil
}

// limited returns a context for one operation.
func (s *settings) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.timeout)
}

// outgoing returns a context with the metadata of the flags.
func (s *settings) outgoing(ctx context.Context) (context.Context, error) {
	md, err := pairs("metadata", s.metadata)
	if err != nil || md == nil {
		return ctx, err
	}
	return metadata.NewOutgoingContext(ctx, md), nil
}

// pairs returns the metadata of a flag.
func pairs(flag string, values []string) (metadata.MD, error) {
	var md metadata.MD
	for _, pair := range values {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usageError{fmt.Errorf("%s %q: want key=value", flag, pair)}
		}
		md = metadata.Join(md, metadata.Pairs(key, value))
	}
	if err := md.Validate(); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return md, nil
}

// once calls do with an End, a context for one operation, which has the metadata of the flags,
// and the data of the operation: args[2], or all of the standard input if that is "-" or absent.
func (s *settings) once(cmd *cobra.Command, args []string, do func(context.Context, geminio.End, []byte) error) error {
	ctx, err := s.outgoing(cmd.Context())
	if err != nil {
		return err
	}
	data, err := payload(cmd.InOrStdin(), args[2:])
	if err != nil {
		return err
	}
	end, err := s.connect(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	defer end.Close()
	ctx, cancel := s.limited(ctx)
	defer cancel()
	return do(ctx, end, data)
}

// payload returns the first of args, or all of in if that is "-" or absent.
func payload(in io.Reader, args []string) ([]byte, error) {
	if len(args) > 0 && args[0] != "-" {
		return []byte(args[0]), nil
	}
	return io.ReadAll(in)
}
