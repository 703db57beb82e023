package cli

import (
	"fmt"
	"os"
)

// Commands runs the one of a program's commands that the first argument names, with the
// other arguments, and returns the exit code: the command's own; ExitOK after -h, which
// prints the usage; ExitUsage when there is no such command.
func Commands(name, usage string, args []string, commands map[string]func(args []string) int) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return ExitUsage
	}
	if command := commands[args[0]]; command != nil {
		return command(args[1:])
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		fmt.Print(usage + "\n" + ExitCodes)
		return ExitOK
	}
	fmt.Fprintf(os.Stderr, "%s: there is no command %q\n%s", name, args[0], usage)
	return ExitUsage
}
