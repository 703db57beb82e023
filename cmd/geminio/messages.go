package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// newPublish returns the command publish.
func newPublish(s *settings) *cobra.Command {
	var noAck bool
	cmd := &cobra.Command{
		Use:   "publish URL TOPIC [DATA]",
		Short: "publish a message and wait for its acknowledgement",
		Long: `publish publishes DATA, or all of the standard input if DATA is "-" or absent, and waits
until the receiver has acknowledged the message.`,
		Args: args(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := options.NewMessage()
			opt.SetTopic(args[1])
			if noAck {
				opt.SetCnss(options.CnssAtMostOnce)
			}
			return s.once(cmd, args, func(ctx context.Context, end geminio.End, data []byte) error {
				return describe(end.Publish(ctx, end.NewMessage(data, opt)))
			})
		},
	}
	cmd.Flags().BoolVar(&noAck, "at-most-once", false, "do not wait for an acknowledgement")
	return cmd
}

// received is a message as receive and serve print it with --json.
type received struct {
	Topic  string `json:"topic"`
	Client uint64 `json:"client"`
	Data   []byte `json:"data"` // base64
}

// newReceive returns the command receive.
func newReceive(s *settings) *cobra.Command {
	var count int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "receive URL",
		Short: "print messages that the server publishes, and acknowledge them",
		Long: `receive prints the data of each message, followed by a line break, and acknowledges the
message when it is printed.`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			end, err := s.connect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer end.Close()
			for i := 0; count == 0 || i < count; i++ {
				m, err := end.Receive(cmd.Context())
				if errors.Is(err, io.EOF) || cmd.Context().Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				if err := printMessage(cmd.OutOrStdout(), m, asJSON); err != nil {
					m.Error(err)
					return err
				}
				if err := m.Done(); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 0, "number of messages; 0: until the server closes or geminio is interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object with topic, client and data (base64) for each message")
	return cmd
}

// printMessage prints a message in a line of its own.
func printMessage(w io.Writer, m geminio.Message, asJSON bool) error {
	line := m.Data()
	if asJSON {
		var err error
		line, err = json.Marshal(received{Topic: m.Topic(), Client: m.ClientID(), Data: m.Data()})
		if err != nil {
			return err
		}
	}
	_, err := w.Write(append(line[:len(line):len(line)], '\n'))
	return err
}
