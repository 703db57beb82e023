package main

import (
	"errors"
	"fmt"
	"strings"

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

// message returns the text of err. The other side may have chosen it, so the characters that control a
// terminal are escaped, except ends of lines and tabs.
func message(err error) string {
	text := strings.Builder{}
	for _, r := range err.Error() {
		if r == '\n' || r == '\t' {
			text.WriteRune(r)
		} else {
			text.WriteString(plain(string(r)))
		}
	}
	return text.String()
}
