package main

// What client and server say to each other.
//
// The client's meta is a auth.Hello, with its name. It says lines by
// Publish, with topicSay, and calls methodWho and methodTell. The server publishes
// events, each with its kind as the topic.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/names"
	"github.com/singchia/geminio/examples/internal/screen"
	"github.com/singchia/geminio/options"
)

// The topics of a client's messages; the data is text.
const (
	topicSay  = "say"  // a line for all
	topicQuit = "quit" // the client is about to close
)

// The methods of the server.
const (
	methodWho  = "who"  // answers with the names, as a JSON list
	methodTell = "tell" // a line for one, as a JSON event with To and Text
)

// The kinds of events.
const (
	kindHello   = "hello"   // the first of each connection: Text is the room's number, To the client's name
	kindLine    = "line"    // From says Text to all
	kindTold    = "told"    // From says Text to the client alone
	kindJoined  = "joined"  // From has come
	kindLeft    = "left"    // From has gone; Text says why, if not by intention
	kindSkipped = "skipped" // Count events were dropped, since the client was too slow
	kindNotice  = "notice"  // Text is from the server
)

// event is what the server tells a client.
type event struct {
	kind  string
	From  string   `json:"from,omitempty"`
	To    string   `json:"to,omitempty"`
	Text  string   `json:"text,omitempty"`
	Here  []string `json:"here,omitempty"`  // the names, with hello
	Line  uint64   `json:"line,omitempty"`  // lines are numbered, as long as a room lives
	Past  bool     `json:"past,omitempty"`  // the line was said before the client came
	Count int      `json:"count,omitempty"` // see skipped
}

// message makes the message of an event.
func (e event) message(end geminio.End) (geminio.Message, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	opt := options.NewMessage()
	opt.SetTopic(e.kind)
	return end.NewMessage(data, opt), nil
}

// readEvent is the reverse of message.
func readEvent(msg geminio.Message) (event, error) {
	e := event{kind: msg.Topic()}
	if err := json.Unmarshal(msg.Data(), &e); err != nil {
		return e, fmt.Errorf("event %q: %w", e.kind, err)
	}
	return e, nil
}

// program is what clients say that they are one of.
const program = "chatroom"

// tokenVariable is where the token is if it is in no file.
const tokenVariable = "CHATROOM_TOKEN"

// readHello reads and checks a meta. Whoever knows the session in it is the same client, also
// when it comes with another connection while the server still holds the one before.
func readHello(meta []byte) (auth.Hello, error) {
	who, err := auth.Read(program, meta)
	if err != nil {
		return who, err
	}
	return who, checkName(who.Name)
}

// longestName is how many characters a name may have.
const longestName = 20

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > longestName {
		return fmt.Errorf("a name of %d characters is too long: at most %d", n, longestName)
	}
	return names.Check(name)
}

// longestLine is how many bytes a line may have.
const longestLine = 2000

// tooLong is the error of a line that has more bytes than it may.
func tooLong(bytes int) error {
	return fmt.Errorf("a line of %d bytes is too long: at most %d", bytes, longestLine)
}

// clean checks a line, and makes it one: what breaks lines becomes a space. What else a
// terminal would obey stays: clients see to it where they have a terminal.
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

// breaksLine tells whether what follows a character is on another line.
func breaksLine(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// oneLine returns text with escapes for what breaks lines. A server that is not to be
// trusted could otherwise have its text look like a line of somebody else.
func oneLine(text string) string {
	if strings.IndexFunc(text, breaksLine) < 0 {
		return text
	}
	return screen.Line(text)
}
