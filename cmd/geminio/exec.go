package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// run runs the command of --exec and returns its standard output. Its error contains the
// standard error of the command.
func (sv *serving) run(ctx context.Context, method string, data []byte) ([]byte, error) {
	words := append(strings.Fields(sv.command), method)
	c := exec.CommandContext(ctx, words[0], words[1:]...)
	c.Stdin = bytes.NewReader(data)
	out, err := c.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && len(failed.Stderr) > 0 {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
	}
	return out, err
}
