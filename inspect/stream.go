package inspect

import (
	"strconv"
	"time"

	"github.com/singchia/geminio"
)

// streamItem is a stream of an End at the moment of a page.
type streamItem struct {
	of   *endItem
	snap geminio.StreamSnapshot
}

// Stream is a stream in JSON. Times are in seconds and sizes in bytes. The fields that are not
// explained here are those of geminio.StreamSnapshot.
type Stream struct {
	End       string  `json:"end"` // the ID of its End
	ClientID  uint64  `json:"client_id,string"`
	StreamID  uint64  `json:"stream_id,string"`
	Side      string  `json:"side"` // initiator if this side has opened it
	Peer      string  `json:"peer,omitempty"`
	Meta      string  `json:"meta,omitempty"` // with Handler.ShowMeta
	State     string  `json:"state"`          // see StreamState
	Age       float64 `json:"age"`
	Sending   string  `json:"sending"`
	Receiving string  `json:"receiving"`

	BytesSent        uint64  `json:"bytes_sent"`
	BytesReceived    uint64  `json:"bytes_received"`
	OutgoingCalls    Counts  `json:"outgoing_calls"`
	IncomingCalls    Counts  `json:"incoming_calls"`
	OutgoingMessages Counts  `json:"outgoing_messages"`
	IncomingMessages Counts  `json:"incoming_messages"`
	Unreceived       int     `json:"unreceived"`
	RawCredit        uint32  `json:"raw_credit"`
	MessageCredit    uint32  `json:"message_credit"`
	RawWindow        Window  `json:"raw_window"`
	MessageWindow    Window  `json:"message_window"`
	QueuedBytes      int     `json:"queued_bytes"`
	WaitingForCredit int     `json:"waiting_for_credit"`
	Blocked          float64 `json:"blocked"` // how long a Write has waited for credit; 0 if none waits
	BlockedWrites    int     `json:"blocked_writes"`
}

// Window is a window of a stream in JSON; see geminio.Window.
type Window struct {
	Size uint32 `json:"size"`
	Left uint32 `json:"left"`
	Held uint32 `json:"held"`
}

// json returns the stream in JSON.
func (i *streamItem) json() any {
	s := &i.snap
	state, _ := i.state()
	return Stream{
		End: formatID(i.of.id), ClientID: s.ClientID, StreamID: s.StreamID, Side: s.Side.String(),
		Peer: i.peer(), Meta: i.meta(), State: string(state), Age: i.of.b.age(s.Begin).Seconds(),
		Sending: s.Sending.String(), Receiving: s.Receiving.String(), BytesSent: s.BytesSent,
		BytesReceived: s.BytesReceived, OutgoingCalls: Counts(s.OutgoingCalls), IncomingCalls: Counts(s.IncomingCalls),
		OutgoingMessages: Counts(s.OutgoingMessages), IncomingMessages: Counts(s.IncomingMessages),
		Unreceived: s.Unreceived, RawCredit: s.RawCredit, MessageCredit: s.MessageCredit,
		RawWindow: Window(s.RawWindow), MessageWindow: Window(s.MessageWindow), QueuedBytes: s.QueuedBytes,
		WaitingForCredit: s.WaitingForCredit, Blocked: i.blocked().Seconds(), BlockedWrites: s.BlockedWrites,
	}
}

// StreamState is the state of a stream on the pages and in JSON: the first of the following that
// applies.
type StreamState string

const (
	// StreamBlocked: a Write of this side waits for the peer to read.
	StreamBlocked StreamState = "write blocked"
	// StreamWaiting: a call, a message or an answer of this side waits for credit of the peer.
	StreamWaiting StreamState = "waits for credit"
	// StreamUnread: the window is full: the peer waits for this side to read.
	StreamUnread StreamState = "not read"
	// StreamUnreceived: the window for messages is full: the peer waits for Receive of this
	// side.
	StreamUnreceived StreamState = "not received"
	// StreamOpen: the stream is open in both directions.
	StreamOpen StreamState = "open"
	// StreamHalfClosed: one direction of the raw bytes has ended.
	StreamHalfClosed StreamState = "half closed"
	// StreamClosed: both directions of the raw bytes have ended.
	StreamClosed StreamState = "closed"
)

// state returns the state of the stream, and its tone.
func (i *streamItem) state() (state StreamState, tone string) {
	s := &i.snap
	switch {
	case s.BlockedWrites > 0:
		return StreamBlocked, ageTone(i.blocked(), "busy")
	case s.WaitingForCredit > 0:
		return StreamWaiting, "busy"
	case isFull(s.RawWindow):
		return StreamUnread, "busy"
	case isFull(s.MessageWindow):
		return StreamUnreceived, "busy"
	case s.Sending == geminio.HalfOpen && s.Receiving == geminio.HalfOpen:
		return StreamOpen, "good"
	case s.Sending == geminio.HalfClosed && s.Receiving == geminio.HalfClosed:
		return StreamClosed, "idle"
	}
	return StreamHalfClosed, "idle"
}

// isFull reports whether the program holds so much that the peer may send less than a quarter of the
// window. The credit is given back in quarters.
func isFull(w geminio.Window) bool { return w.Held > 0 && w.Left < w.Size/4 && w.Held >= w.Size/2 }

// blocked returns how long a Write has waited for credit.
func (i *streamItem) blocked() time.Duration { return i.of.b.age(i.snap.BlockedSince) }

func (i *streamItem) id() string   { return strconv.FormatUint(i.snap.StreamID, 10) }
func (i *streamItem) peer() string { return printable(i.snap.Peer) }
func (i *streamItem) calls() uint64 {
	return i.snap.OutgoingCalls.InFlight + i.snap.IncomingCalls.InFlight
}
func (i *streamItem) messages() uint64 {
	return i.snap.OutgoingMessages.InFlight + i.snap.IncomingMessages.InFlight
}

// meta returns the meta if it may be shown.
func (i *streamItem) meta() string {
	if !i.of.b.h.ShowMeta {
		return ""
	}
	return printable(string(i.snap.Meta))
}

// openedBy says which side has opened the stream.
func (i *streamItem) openedBy() string {
	switch {
	case i.snap.StreamID == 1:
		return "default"
	case i.snap.Side == geminio.InitiatorSide:
		return "this side"
	}
	return "the peer"
}

// ofBytes returns a column of a number of bytes.
func ofBytes[I any](name, title, hint string, number func(*I) uint64) column[I] {
	return column[I]{name: name, title: title, hint: hint, class: "bytes", number: number,
		show: func(i *I) cell { return cell{Text: formatBytes(number(i))} }}
}

// streamTable is the table of streams.
var streamTable = table[streamItem]{
	name: "streams", title: "Streams", order: "stream", choosing: "Streams",
	choices: []choice[streamItem]{
		{"stuck", "blocked, waiting, or not read", func(i *streamItem) bool { _, tone := i.state(); return tone == "busy" || tone == "bad" }},
		{"own", "opened by this side", func(i *streamItem) bool { return i.openedBy() == "this side" }},
		{"peer", "opened by the peer", func(i *streamItem) bool { return i.openedBy() == "the peer" }},
	},
	empty: "There are no streams.",
	id:    func(i *streamItem) rowID { return rowID{i.of.id, i.snap.StreamID} },
	row:   (*streamItem).json,
	columns: []column[streamItem]{
		{name: "name", title: "Name", class: "text", text: func(i *streamItem) string { return i.of.name() },
			show: func(i *streamItem) cell { return cell{Text: i.of.name(), Href: i.of.link()} }},
		{name: "client", title: "Client", class: "id", hint: "The id of the client of the connection",
			number: func(i *streamItem) uint64 { return i.snap.ClientID }, text: func(i *streamItem) string { return i.of.client() },
			show: func(i *streamItem) cell { return cell{Text: i.of.client(), Href: i.of.link()} }},
		{name: "stream", title: "Stream", class: "stream", hint: "The id of the stream; 1 is the End itself",
			number: func(i *streamItem) uint64 { return i.snap.StreamID }, text: (*streamItem).id,
			show: func(i *streamItem) cell { return cell{Text: i.id()} }},
		{name: "peer", title: "Peer", class: "text", hint: "The name that the opener has given to the stream", text: (*streamItem).peer},
		{name: "meta", title: "Meta", class: "text", text: (*streamItem).meta},
		{name: "opened", title: "Opened by", class: "short", text: (*streamItem).openedBy},
		{name: "state", title: "State", class: "state", text: func(i *streamItem) string { s, _ := i.state(); return string(s) },
			show: func(i *streamItem) cell {
				s, tone := i.state()
				return cell{Text: string(s), Tone: tone, Hint: "sending: " + i.snap.Sending.String() + ", receiving: " + i.snap.Receiving.String()}
			}},
		{name: "blocked", title: "Blocked", class: "age", hint: "How long a Write has waited for the peer to read",
			number: func(i *streamItem) uint64 { return sinceKey(i.snap.BlockedSince) },
			show:   func(i *streamItem) cell { return duration(i.blocked()) }},
		{name: "age", title: "Age", class: "age",
			number: func(i *streamItem) uint64 { return sinceKey(i.snap.Begin) },
			show:   func(i *streamItem) cell { return since(i.of.b, i.snap.Begin) }},
		{name: "calls", title: "Calls", class: "number", hint: "The calls in flight of both sides", number: (*streamItem).calls},
		{name: "messages", title: "Messages", class: "number", hint: "The messages of both sides that are not answered", number: (*streamItem).messages},
		ofBytes("unread", "Unread", "The raw bytes that this program has not read", func(i *streamItem) uint64 { return uint64(i.snap.RawWindow.Held) }),
		{name: "unreceived", title: "Unreceived", class: "number", hint: "The messages that wait for Receive",
			number: func(i *streamItem) uint64 { return uint64(max(i.snap.Unreceived, 0)) }},
		ofBytes("queued", "Queued", "What waits to be sent", func(i *streamItem) uint64 { return uint64(max(i.snap.QueuedBytes, 0)) }),
		ofBytes("credit", "Credit", "The raw bytes that this side may send now", func(i *streamItem) uint64 { return uint64(i.snap.RawCredit) }),
		ofBytes("window", "Window", "The raw bytes that the peer may send without a Read", func(i *streamItem) uint64 { return uint64(i.snap.RawWindow.Size) }),
		ofBytes("sent", "Sent", "Raw bytes", func(i *streamItem) uint64 { return i.snap.BytesSent }),
		ofBytes("received", "Received", "Raw bytes", func(i *streamItem) uint64 { return i.snap.BytesReceived }),
	},
}
