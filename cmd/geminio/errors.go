package main

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio"
)

// answered reports whether err is an answer of the other side.
func answered(err error) bool { return errors.As(err, new(*geminio.RemoteError)) }

// describe adds the code to an error of the other side.
func describe(err error) error {
	var remote *geminio.RemoteError
	if errors.As(err, &remote) && remote.Code != geminio.CodeApplication {
		return fmt.Errorf("%w (code %d)", err, remote.Code)
	}
	return err
}
