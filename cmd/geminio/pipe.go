package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// newPipe returns the command pipe.
func newPipe(s *settings) *cobra.Command {
	var streamMeta, peer string
	cmd := &cobra.Command{
		Use:   "pipe URL",
		Short: "connect the standard input and output to a stream",
		Long: `pipe opens a stream, writes the standard input to it, and prints what arrives. The end of
the input ends that direction of the stream only. pipe ends when the other side has ended the
other direction.`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			end, err := s.connect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer end.Close()
			opt := options.OpenStream()
			opt.SetMeta([]byte(streamMeta))
			opt.SetPeer(peer)
			if s.timeout > 0 {
				opt.SetTimeout(s.timeout)
			}
			stream, err := end.OpenStream(opt)
			if err != nil {
				return describe(err)
			}
			return pipe(stream, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&streamMeta, "stream-meta", "", "meta of the stream")
	cmd.Flags().StringVar(&peer, "peer", "", "peer of the stream")
	return cmd
}

// pipe copies in to the stream and the stream to out until the stream has ended. It does not
// wait for in, whose Read cannot be interrupted.
func pipe(stream geminio.Stream, in io.Reader, out io.Writer) error {
	go func() {
		if _, err := io.Copy(stream, in); err == nil {
			geminio.CloseWrite(stream)
		}
	}()
	if _, err := io.Copy(out, stream); err != nil {
		return err
	}
	return stream.Close()
}
