package cli

import (
	"fmt"
	"os"
)

// Commands runs the command that the first argument names, with the other arguments, and
// returns its exit code. After -h, which prints the usage, it returns ExitOK. If there is no
// such command, it returns ExitUsage.
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
