package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio"
)

// pingMethod is the method that ping calls if the server is one of the earlier library, which heartbeats
// do not measure. It need not exist: the answer that it does not also takes one round trip.
const pingMethod = "geminio.ping"

// newPing returns the command ping.
func newPing(s *settings) *cobra.Command {
	var count int
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "ping URL",
		Short: "connect, and measure round trips",
		Long: `ping connects, and sends heartbeats again and again. The server answers them by itself, so
the program that runs there takes no part.`,
		Args: args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			begin := time.Now()
			end, err := s.connect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer end.Close()
			fmt.Fprintf(cmd.OutOrStdout(), "connected to %s as client %d in %s\n",
				end.RemoteAddr(), end.ClientID(), time.Since(begin).Round(time.Microsecond))
			for i := 1; count == 0 || i <= count; i++ {
				took, err := s.roundTrip(cmd.Context(), end)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "round trip %d: %s\n", i, took.Round(time.Microsecond))
				if i == count {
					break
				}
				select {
				case <-time.After(interval):
				case <-cmd.Context().Done():
					return nil
				}
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&count, "count", "c", 4, "number of heartbeats; 0: until it is interrupted")
	cmd.Flags().DurationVarP(&interval, "interval", "i", time.Second, "time between two heartbeats, at least 10ms")
	return cmd
}

// roundTrip measures one round trip.
func (s *settings) roundTrip(ctx context.Context, end geminio.End) (time.Duration, error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	begin := time.Now()
	took, err := geminio.Ping(ctx, end)
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = end.Call(ctx, pingMethod, end.NewRequest(nil))
		took = time.Since(begin)
		if answered(err) {
			err = nil
		}
	}
	return took, err
}

// newCall returns the command call.
func newCall(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "call URL METHOD [DATA]",
		Short: "call a method and print the answer",
		Long: `call calls a method with DATA, or with all of the standard input if DATA is "-" or absent,
and writes the data of the answer to the standard output as it is.`,
		Args: args(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.once(cmd, args, func(ctx context.Context, end geminio.End, data []byte) error {
				rsp, err := end.Call(ctx, args[1], end.NewRequest(data))
				if err != nil {
					return describe(err)
				}
				_, err = cmd.OutOrStdout().Write(rsp.Data())
				return err
			})
		},
	}
}
