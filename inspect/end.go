package inspect

import (
	"hash/maphash"
	"reflect"
	"strconv"
	"time"

	"github.com/singchia/geminio"
)

// stateUnknown is the state of an End that has no snapshot, such as a wrapper of the program.
const stateUnknown geminio.EndState = 255

// endItem is an End at the moment of a page.
type endItem struct {
	b    *builder
	end  geminio.End
	id   uint64
	snap geminio.EndSnapshot
}

// newEndItem takes a snapshot of an End.
func newEndItem(b *builder, end geminio.End) endItem {
	snap, ok := geminio.SnapshotOf(end)
	if !ok {
		snap = geminio.EndSnapshot{
			ClientID: end.ClientID(), Meta: end.Meta(), Side: end.Side(), LocalAddr: end.LocalAddr(),
			RemoteAddr: end.RemoteAddr(), State: stateUnknown, Cause: geminio.Cause(end),
		}
	}
	return endItem{b, end, idOf(end), snap}
}

// seed makes the ids of Ends differ between processes, and hides the addresses of memory.
var seed = maphash.MakeSeed()

// idOf returns a number that identifies an End in this process. Client ids do not suffice: a program
// can have both sides of a connection, and several Ends of one client.
func idOf(end geminio.End) uint64 {
	if !reflect.ValueOf(end).Comparable() {
		return end.ClientID()
	}
	return maphash.Comparable(seed, end)
}

// formatID formats the id of an End for a URL.
func formatID(id uint64) string { return strconv.FormatUint(id, 36) }

// End is an End in JSON. Times are in seconds and sizes in bytes. The fields that are not explained here
// are those of geminio.EndSnapshot.
type End struct {
	ID            string  `json:"id"` // for the parameter end
	ClientID      uint64  `json:"client_id,string"`
	Name          string  `json:"name,omitempty"` // of Handler.Name
	Meta          string  `json:"meta,omitempty"` // with Handler.ShowMeta
	Side          string  `json:"side"`           // of the connection: initiator for a client, recipient for a server
	State         string  `json:"state"`
	StateAge      float64 `json:"state_age"` // since State has begun
	Age           float64 `json:"age"`       // since the connection has begun
	LocalAddr     string  `json:"local_addr"`
	RemoteAddr    string  `json:"remote_addr"`
	Wire          int     `json:"wire"`
	RoundTrip     float64 `json:"round_trip"` // 0: not measured
	Silence       float64 `json:"silence"`    // since the last byte has arrived
	BytesSent     uint64  `json:"bytes_sent"`
	BytesReceived uint64  `json:"bytes_received"`

	OutgoingStreams      Counts  `json:"outgoing_streams"`
	IncomingStreams      Counts  `json:"incoming_streams"`
	UnacceptedStreams    int     `json:"unaccepted_streams"`
	OutgoingCalls        Counts  `json:"outgoing_calls"`
	IncomingCalls        Counts  `json:"incoming_calls"`
	OldestCall           float64 `json:"oldest_call"` // the age of the oldest call in flight; 0 if there is none
	OutgoingMessages     Counts  `json:"outgoing_messages"`
	IncomingMessages     Counts  `json:"incoming_messages"`
	WaitingForCredit     int     `json:"waiting_for_credit"`
	WaitingForConnection int     `json:"waiting_for_connection"`
	WaitingBytes         int     `json:"waiting_bytes"`
	MemoryBudget         uint64  `json:"memory_budget"`
	BudgetUsed           uint64  `json:"budget_used"`

	Connections   uint64 `json:"connections"`
	Interruptions uint64 `json:"interruptions"`
	Resumes       uint64 `json:"resumes"`
	ReplayLog     uint64 `json:"replay_log"`
	LastError     string `json:"last_error,omitempty"` // why it has ended, could not connect, or was interrupted
}

// Counts counts things of one kind, in JSON.
type Counts struct {
	Begun    uint64 `json:"begun"`
	InFlight uint64 `json:"in_flight"`
}

// json returns the End in JSON.
func (i *endItem) json() any {
	s := &i.snap
	return End{
		ID: formatID(i.id), ClientID: s.ClientID, Name: i.name(), Meta: i.meta(), Side: s.Side.String(),
		State: s.State.String(), StateAge: i.b.age(s.Since).Seconds(), Age: i.b.age(s.Begin).Seconds(),
		LocalAddr: address(s.LocalAddr), RemoteAddr: i.remote(), Wire: s.Wire, RoundTrip: s.RoundTrip.Seconds(),
		Silence: i.b.age(s.LastReceived).Seconds(), BytesSent: s.Sent.Bytes, BytesReceived: s.Received.Bytes,
		OutgoingStreams: Counts(s.OutgoingStreams), IncomingStreams: Counts(s.IncomingStreams),
		UnacceptedStreams: s.UnacceptedStreams, OutgoingCalls: Counts(s.OutgoingCalls),
		IncomingCalls: Counts(s.IncomingCalls), OldestCall: i.b.age(i.oldestCall()).Seconds(),
		OutgoingMessages: Counts(s.OutgoingMessages), IncomingMessages: Counts(s.IncomingMessages),
		WaitingForCredit: s.WaitingForCredit, WaitingForConnection: s.WaitingForConnection,
		WaitingBytes: s.WaitingBytes, MemoryBudget: s.MemoryBudget, BudgetUsed: s.BudgetUsed,
		Connections: s.Connections, Interruptions: s.Interruptions, Resumes: s.Resumes, ReplayLog: s.ReplayLog,
		LastError: i.lastError(),
	}
}

// client returns the client id as a text.
func (i *endItem) client() string { return strconv.FormatUint(i.snap.ClientID, 10) }

// link returns the link to the page of the End.
func (i *endItem) link() string { return "end?end=" + formatID(i.id) }

// name returns the name of the program for the End.
func (i *endItem) name() string {
	if i.b.h.Name == nil {
		return ""
	}
	return printable(i.b.h.Name(i.end))
}

// title returns the name of the End, or the client id if it has none.
func (i *endItem) title() string {
	if name := i.name(); name != "" {
		return name
	}
	return "client " + i.client()
}

// meta returns the meta if it may be shown.
func (i *endItem) meta() string {
	if !i.b.h.ShowMeta {
		return ""
	}
	return printable(string(i.snap.Meta))
}

func (i *endItem) remote() string { return address(i.snap.RemoteAddr) }
func (i *endItem) streams() uint64 {
	return i.snap.OutgoingStreams.InFlight + i.snap.IncomingStreams.InFlight
}
func (i *endItem) calls() uint64 {
	return i.snap.OutgoingCalls.InFlight + i.snap.IncomingCalls.InFlight
}
func (i *endItem) waiting() uint64 {
	return uint64(i.snap.WaitingForCredit + i.snap.WaitingForConnection)
}
func (i *endItem) messages() uint64 {
	return i.snap.OutgoingMessages.InFlight + i.snap.IncomingMessages.InFlight
}

// oldestCall returns the time at which the oldest call in flight has begun, zero if there is none.
func (i *endItem) oldestCall() time.Time {
	if i.calls() > 0 {
		if oldest := geminio.CallsOf(i.end, 1); len(oldest) > 0 {
			return oldest[0].Begin
		}
	}
	return time.Time{}
}

// lastError returns the last error of the connection: why the End has ended, could not connect, or
// was interrupted.
func (i *endItem) lastError() string {
	for _, err := range []error{i.snap.Cause, i.snap.LastFailure, i.snap.LastInterruption} {
		if err != nil {
			return errorText(err)
		}
	}
	return ""
}

// stateTones has the tones of the states of Ends.
var stateTones = map[geminio.EndState]string{
	geminio.EndPreparing: "busy", geminio.EndConnected: "good", geminio.EndInterrupted: "bad",
	geminio.EndReconnecting: "bad", geminio.EndDraining: "busy", geminio.EndClosing: "idle",
	geminio.EndClosed: "idle", stateUnknown: "idle",
}

// state returns the state of the End.
func (i *endItem) state() cell {
	c := cell{Text: i.snap.State.String(), Tone: stateTones[i.snap.State]}
	if !i.snap.Since.IsZero() {
		c.Hint = "for " + formatDuration(i.b.age(i.snap.Since))
	}
	return c
}

// inState returns a choice of the Ends in a state.
func inState(s geminio.EndState) choice[endItem] {
	return choice[endItem]{s.String(), s.String(), func(i *endItem) bool { return i.snap.State == s }}
}

// endTable is the table of Ends.
var endTable = table[endItem]{
	name: "ends", title: "Ends", order: "client", choosing: "State",
	choices: []choice[endItem]{
		inState(geminio.EndConnected), inState(geminio.EndInterrupted), inState(geminio.EndReconnecting),
		inState(geminio.EndDraining), inState(geminio.EndClosing),
	},
	empty: "There are no Ends.",
	id:    func(i *endItem) rowID { return rowID{i.id} },
	row:   (*endItem).json,
	columns: []column[endItem]{
		{name: "name", title: "Name", class: "text", text: (*endItem).name,
			show: func(i *endItem) cell { return cell{Text: i.name(), Href: i.link()} }},
		{name: "client", title: "Client", class: "id", hint: "The id of the client of the connection",
			number: func(i *endItem) uint64 { return i.snap.ClientID }, text: (*endItem).client,
			show: func(i *endItem) cell { return cell{Text: i.client(), Href: i.link()} }},
		{name: "meta", title: "Meta", class: "text", text: (*endItem).meta},
		{name: "remote", title: "Remote address", class: "address", text: (*endItem).remote},
		{name: "state", title: "State", class: "state", text: func(i *endItem) string { return i.snap.State.String() },
			show: (*endItem).state},
		{name: "age", title: "Age", class: "age", hint: "The time since the connection has begun",
			number: func(i *endItem) uint64 { return sinceKey(i.snap.Begin) },
			show:   func(i *endItem) cell { return since(i.b, i.snap.Begin) }},
		{name: "trip", title: "Round trip", class: "age", hint: "The last round trip that was measured",
			number: func(i *endItem) uint64 { return uint64(max(i.snap.RoundTrip, 0)) },
			show:   func(i *endItem) cell { return duration(i.snap.RoundTrip) }},
		{name: "streams", title: "Streams", class: "number", hint: "The open streams of both sides", number: (*endItem).streams},
		{name: "calls", title: "Calls", class: "number", hint: "The calls in flight of both sides", number: (*endItem).calls,
			show: func(i *endItem) cell {
				return cell{Text: formatCount(i.calls()), Hint: formatCount(i.snap.OutgoingCalls.InFlight) + " outgoing, " +
					formatCount(i.snap.IncomingCalls.InFlight) + " incoming"}
			}},
		{name: "oldest", title: "Oldest call", class: "age", hint: "The age of the oldest call in flight",
			number: func(i *endItem) uint64 { return sinceKey(i.oldestCall()) },
			show:   func(i *endItem) cell { return callAge(i.b.age(i.oldestCall())) }},
		{name: "messages", title: "Messages", class: "number", hint: "The messages of both sides that are not answered", number: (*endItem).messages},
		{name: "waiting", title: "Waiting", class: "number",
			hint: "The operations that wait for credit of the peer, or for a connection", number: (*endItem).waiting},
		{name: "resumes", title: "Resumes", class: "number", hint: "How often the session has continued on another connection",
			number: func(i *endItem) uint64 { return i.snap.Resumes }},
		{name: "error", title: "Last error", class: "error",
			hint: "Why the End has ended, could not connect, or was interrupted", text: (*endItem).lastError,
			show: func(i *endItem) cell { return cell{Text: i.lastError(), Hint: i.lastError()} }},
		{name: "memory", title: "Memory", class: "bytes", hint: "The part of the memory budget that is in use",
			number: func(i *endItem) uint64 { return i.snap.BudgetUsed },
			show:   func(i *endItem) cell { return cell{Text: formatBytes(i.snap.BudgetUsed)} }},
		{name: "sent", title: "Sent", class: "bytes",
			number: func(i *endItem) uint64 { return i.snap.Sent.Bytes },
			show:   func(i *endItem) cell { return cell{Text: formatBytes(i.snap.Sent.Bytes)} }},
		{name: "received", title: "Received", class: "bytes",
			number: func(i *endItem) uint64 { return i.snap.Received.Bytes },
			show:   func(i *endItem) cell { return cell{Text: formatBytes(i.snap.Received.Bytes)} }},
	},
}
