package main

// The protocol of client and server.
//
// The client's meta is an auth.Hello, with its name. The client publishes lines with topicSay, and
// calls methodWho and methodTell. The server publishes events. The data of all of them is JSON.

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/names"
	"github.com/singchia/geminio/examples/internal/screen"
	"github.com/singchia/geminio/typed"
)

// The topics of a client's messages.
var (
	topicSay  = typed.Topic[string]{Name: "say"}    // a line for all clients
	topicQuit = typed.Topic[struct{}]{Name: "quit"} // the client is about to close
)

// topicEvent is the topic of the server's messages.
var topicEvent = typed.Topic[event]{Name: "event"}

// The methods of the server.
var (
	methodWho  = typed.Method[struct{}, []string]{Name: "who"} // answers with the names
	methodTell = typed.Method[told, struct{}]{Name: "tell"}    // a line for one client
)

// told is the request of methodTell.
type told struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

// The kinds of events.
const (
	kindHello   = "hello"   // the first event of each connection: Text is the room's number, To the client's name
	kindLine    = "line"    // From says Text to all
	kindTold    = "told"    // From says Text to this client only
	kindJoined  = "joined"  // From has joined
	kindLeft    = "left"    // From has left; Text is the reason, unless the user has left
	kindSkipped = "skipped" // Count events were dropped, since the client was too slow
	kindNotice  = "notice"  // Text is from the server
)

// event is a message of the server to a client.
type event struct {
	Kind  string   `json:"kind"`
	From  string   `json:"from,omitempty"`
	To    string   `json:"to,omitempty"`
	Text  string   `json:"text,omitempty"`
	Here  []string `json:"here,omitempty"`  // the names, with hello
	Line  uint64   `json:"line,omitempty"`  // the number of the line in its room
	Past  bool     `json:"past,omitempty"`  // the line is older than the connection
	Count int      `json:"count,omitempty"` // of kindSkipped
}

// program is the name of this program in an auth.Hello.
const program = "chatroom"

// tokenVariable is the environment variable with the token, if the token is in no file.
const tokenVariable = "CHATROOM_TOKEN"

// readHello reads and checks a meta. A connection with the same session belongs to the same
// client, also while the server still has an older connection of that client.
func readHello(meta []byte) (auth.Hello, error) {
	who, err := auth.Read(program, meta)
	if err != nil {
		return who, err
	}
	return who, checkName(who.Name)
}

// longestName is the largest number of characters in a name.
const longestName = 20

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > longestName {
		return fmt.Errorf("a name of %d characters is too long: at most %d", n, longestName)
	}
	return names.Check(name)
}

// longestLine is the largest number of bytes in a line.
const longestLine = 2000

// tooLong returns the error of a line that is too long.
func tooLong(bytes int) error {
	return fmt.Errorf("a line of %d bytes is too long: at most %d", bytes, longestLine)
}

// clean checks a line, and replaces characters that break lines by spaces. It keeps other
// control characters; a client escapes them for its terminal.
func clean(text string) (string, error) {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if breaksLine(r) || r == '\t' {
			return ' '
		}
		return r
	}, text))
	switch {
	case text == "":
		return "", errors.New("there is nothing in that line")
	case len(text) > longestLine:
		return "", tooLong(len(text))
	}
	return text, nil
}

// breaksLine tells whether a character begins another line.
func breaksLine(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// oneLine returns text with characters that break lines escaped. Otherwise a hostile server
// could make its text look like a line of another client.
func oneLine(text string) string {
	if strings.IndexFunc(text, breaksLine) < 0 {
		return text
	}
	return screen.Line(text)
}
