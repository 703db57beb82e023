package main

// What client and server say to each other.
//
// The client's meta has its name, and a token that only it knows. It says lines by
// Publish, with topicSay, and calls methodWho and methodTell. The server publishes
// events, each with its kind as the topic.

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/singchia/geminio"
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

// identity is a client's meta. Who knows the token is the same client, also when it
// comes with another connection while the server still holds the one before.
type identity struct {
	Name  string `json:"name"`
	Token string `json:"token"`
}

// leastToken is how many characters make a token that cannot be guessed.
const leastToken = 32

// names are what clients may be called.
var names = regexp.MustCompile(`^[\pL\pN][\pL\pN_.-]{0,19}$`)

// readIdentity reads and checks a meta.
func readIdentity(meta []byte) (identity, error) {
	var who identity
	if err := json.Unmarshal(meta, &who); err != nil {
		return who, errors.New("this is no client of a chatroom")
	}
	if err := checkName(who.Name); err != nil {
		return who, err
	}
	if len(who.Token) < leastToken {
		return who, fmt.Errorf("the token must have %d characters", leastToken)
	}
	return who, nil
}

func checkName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name: it takes up to 20 letters, digits and _ . -", name)
	}
	return nil
}

// clientID is the id of the client with that token: always the same, so that the
// listener knows which connection a new one replaces, and nobody else can have it.
func (who identity) clientID() uint64 {
	sum := sha256.Sum256([]byte(who.Token))
	return max(binary.BigEndian.Uint64(sum[:8]), 1) // 0 would be none
}

// longestLine is how many bytes a line may have.
const longestLine = 2000

// clean checks a line, and takes out of it what a terminal would obey.
func clean(text string) (string, error) {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, text)
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", errors.New("there is nothing in that line")
	case len(text) > longestLine:
		return "", fmt.Errorf("a line of %d characters is too long", utf8.RuneCountInString(text))
	}
	return text, nil
}
