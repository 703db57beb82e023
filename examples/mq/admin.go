package main

// The commands stats and drop.

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/options"
)

const statsUsage = `mq stats shows the state of all topics, or of some.

  mq stats [FLAGS] [TOPIC...]

For a topic: the numbers of stored messages and bytes with their limits, and the number of
messages of this broker's producers that wait for space. For a group: the number of messages
that were not delivered yet, the number of messages that consumers have, the number of those
that were delivered more than once, and the number of consumers at this broker.
`

// idempotent returns the options of calls that may be repeated.
func idempotent() *options.CallOptions {
	opt := options.Call()
	opt.SetIdempotent(true)
	return opt
}

func statsMain(args []string) int {
	p := newPeer("mq stats", statsUsage)
	asJSON := p.Flags.Bool("json", false, "as JSON")
	return p.Main(args, func(ctx context.Context) error {
		if err := p.dial(ctx, methodStats); err != nil {
			return err
		}
		defer p.close()
		var topics []topicStats
		if err := p.ask(ctx, methodStats, p.Flags.Args(), &topics); err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(p.Stdout)
			e.SetIndent("", "  ")
			return e.Encode(topics)
		}
		return p.table(topics)
	})
}

// table prints the answer of stats.
func (p *peer) table(topics []topicStats) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tMESSAGES\tBYTES\tWAITING\tGROUP\tPENDING\tIN FLIGHT\tREDELIVERED\tCONSUMERS")
	for _, t := range topics {
		fmt.Fprintf(w, "%s\t%d/%d\t%d/%d\t%d", t.Topic, t.Messages, t.MaxMessages, t.Bytes, t.MaxBytes, t.Waiting)
		if len(t.Groups) == 0 {
			fmt.Fprintln(w)
		}
		for i, g := range t.Groups {
			if i > 0 {
				fmt.Fprint(w, "\t\t\t")
			}
			fmt.Fprintf(w, "\t%s\t%d\t%d\t%d\t%d\n", g.Group, g.Pending, g.InFlight, g.Redelivered, g.Consumers)
		}
	}
	return w.Flush()
}

const dropUsage = `mq drop deletes a group without consumers, and the messages that are kept only for that
group. A group without consumers fills its topic.

  mq drop [FLAGS] -topic T -group G
`

func dropMain(args []string) int {
	p := newPeer("mq drop", dropUsage)
	var s subscription
	p.Flags.StringVar(&s.Topic, "topic", "", "the topic `T`")
	p.Flags.StringVar(&s.Group, "group", "", "the group `G`")
	return p.Main(args, func(ctx context.Context) error {
		if p.Flags.NArg() > 0 {
			return cli.Usagef("unexpected argument %q", p.Flags.Arg(0))
		}
		if err := s.check(); err != nil {
			return cli.Usagef("%v", err)
		}
		if err := p.dial(ctx, methodDrop); err != nil {
			return err
		}
		defer p.close()
		data, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = p.end.Call(ctx, methodDrop, p.end.NewRequest(data))
		return err
	})
}
