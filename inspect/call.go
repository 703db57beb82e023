package inspect

import (
	"strconv"
	"strings"
	"time"

	"github.com/singchia/geminio"
)

// callItem is a call in flight of an End at the moment of a page.
type callItem struct {
	of   *endItem
	snap geminio.CallSnapshot
}

// Call is a call in flight in JSON. Age is in seconds. The fields that are not explained here are those
// of geminio.CallSnapshot.
type Call struct {
	End       string  `json:"end"` // the ID of its End
	ClientID  uint64  `json:"client_id,string"`
	StreamID  uint64  `json:"stream_id,string"`
	Direction string  `json:"direction"`
	Method    string  `json:"method"`
	State     string  `json:"state"`
	Number    uint64  `json:"number,string"`
	Age       float64 `json:"age"`
}

// json returns the call in JSON.
func (i *callItem) json() any {
	s := &i.snap
	return Call{
		End: formatID(i.of.id), ClientID: i.of.snap.ClientID, StreamID: s.StreamID, Direction: s.Direction.String(),
		Method: i.method(), State: s.State.String(), Number: s.Number, Age: i.age().Seconds(),
	}
}

func (i *callItem) method() string     { return printable(i.snap.Method) }
func (i *callItem) age() time.Duration { return i.of.b.age(i.snap.Begin) }

// row identifies the call. Calls that wait for a connection have no number yet.
func (i *callItem) row() rowID {
	number := i.snap.Number
	if number == 0 {
		number = 1<<63 | uint64(i.snap.Begin.UnixNano())
	}
	return rowID{i.of.id, uint64(i.snap.Direction), i.snap.StreamID, number}
}

// callTones has the tones of the states of calls.
var callTones = map[geminio.CallState]string{
	geminio.CallWaitsForConnection: "bad", geminio.CallWaitsForCredit: "busy", geminio.CallSent: "good",
	geminio.CallRunning: "good", geminio.CallAbandoned: "bad",
}

// state returns the state of the call.
func (i *callItem) state() string { return strings.ReplaceAll(i.snap.State.String(), "-", " ") }

// The ages from which calls and waits are marked.
const (
	busyAge = 10 * time.Second
	badAge  = time.Minute
)

// ageTone returns the tone of a call or a wait of an age, or young if it is not marked.
func ageTone(age time.Duration, young string) string {
	switch {
	case age >= badAge:
		return "bad"
	case age >= busyAge:
		return "busy"
	}
	return young
}

// callAge returns the age of a call.
func callAge(age time.Duration) cell {
	c := duration(age)
	c.Tone = ageTone(age, "")
	return c
}

// olderThan returns a choice of calls.
func olderThan(age time.Duration, name, title string) choice[callItem] {
	return choice[callItem]{name, "at least " + title, func(i *callItem) bool { return i.age() >= age }}
}

// callTable is the table of calls in flight.
var callTable = table[callItem]{
	name: "calls", title: "Calls in flight", order: "age", descending: true, choosing: "Age",
	choices: []choice[callItem]{
		olderThan(time.Second, "1s", "a second"), olderThan(10*time.Second, "10s", "10 seconds"),
		olderThan(time.Minute, "1m", "a minute"), olderThan(10*time.Minute, "10m", "10 minutes"),
	},
	empty: "There are no calls in flight.",
	id:    (*callItem).row,
	row:   (*callItem).json,
	columns: []column[callItem]{
		{name: "name", title: "Name", class: "text", text: func(i *callItem) string { return i.of.name() },
			show: func(i *callItem) cell { return cell{Text: i.of.name(), Href: i.of.link()} }},
		{name: "client", title: "Client", class: "id", hint: "The id of the client of the connection",
			number: func(i *callItem) uint64 { return i.of.snap.ClientID }, text: func(i *callItem) string { return i.of.client() },
			show: func(i *callItem) cell { return cell{Text: i.of.client(), Href: i.of.link()} }},
		{name: "method", title: "Method", class: "text", text: (*callItem).method},
		{name: "direction", title: "Direction", class: "short", hint: "outgoing: this side waits; incoming: its handler runs",
			text: func(i *callItem) string { return i.snap.Direction.String() }},
		{name: "state", title: "State", class: "callstate", text: (*callItem).state,
			show: func(i *callItem) cell { return cell{Text: i.state(), Tone: callTones[i.snap.State]} }},
		{name: "age", title: "Age", class: "age",
			number: func(i *callItem) uint64 { return sinceKey(i.snap.Begin) }, show: func(i *callItem) cell { return callAge(i.age()) }},
		{name: "stream", title: "Stream", class: "stream", hint: "The id of the stream; 1 is the End itself",
			number: func(i *callItem) uint64 { return i.snap.StreamID },
			show:   func(i *callItem) cell { return cell{Text: strconv.FormatUint(i.snap.StreamID, 10)} }},
		{name: "number", title: "Number", class: "stream", hint: "The number of the call, the same at both sides",
			number: func(i *callItem) uint64 { return i.snap.Number },
			show:   func(i *callItem) cell { return cell{Text: strconv.FormatUint(i.snap.Number, 10)} }},
	},
}
