// Package cli has the common parts of the example programs: flags for TLS and
// logging, the end on a signal, exit codes.
//
// A program makes a [Program], adds its own flags to the FlagSet, and calls
// [Program.Main], which parses them and runs it:
//
//	p := cli.New("hello", "hello greets.\n\n  hello [-name NAME]\n")
//	name := p.Flags.String("name", "world", "greet `NAME`")
//	os.Exit(p.Main(os.Args[1:], func(ctx context.Context) error { ... }))
package cli
