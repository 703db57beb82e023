// Package cli is what the example programs have in common: flags for TLS and
// logging, the end on a signal, exit codes.
//
// A program makes a [Program], adds flags of its own to its FlagSet, and has
// [Program.Main] parse them and run it:
//
//	p := cli.New("hello", "hello greets.\n\n  hello [-name NAME]\n")
//	name := p.Flags.String("name", "world", "greet `NAME`")
//	os.Exit(p.Main(os.Args[1:], func(ctx context.Context) error { ... }))
package cli
