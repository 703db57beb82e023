package inspect

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/singchia/geminio"
)

// EndPage is the JSON of the page of an End.
type EndPage struct {
	End     End          `json:"end"`
	Calls   Page[Call]   `json:"calls"`
	Streams Page[Stream] `json:"streams"`
}

// age returns the time since t, 0 if t is zero.
func (b *builder) age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(b.now.Sub(t), 0)
}

// sinceKey returns a number by which the time since t is sorted: it is larger for longer times, and 0 if
// t is zero. In contrast to the time since t it does not change, so a page still begins at the same
// row when it refreshes.
func sinceKey(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return ^uint64(t.UnixNano())
}

// since shows the time since t.
func since(b *builder, t time.Time) cell {
	if t.IsZero() {
		return cell{Text: none}
	}
	return cell{Text: formatDuration(b.age(t)), Hint: "since " + t.Format("2006-01-02 15:04:05 MST")}
}

// none is shown in place of a duration that there is not.
const none = "–"

// duration shows a duration.
func duration(d time.Duration) cell {
	if d <= 0 {
		return cell{Text: none}
	}
	return cell{Text: formatDuration(d)}
}

// address returns the text of an address.
func address(a net.Addr) string {
	if a == nil {
		return ""
	}
	return printable(a.String())
}

// errorText returns the text of an error.
func errorText(err error) string {
	if errors.Is(err, io.EOF) {
		return "closed"
	}
	return printable(err.Error())
}

// turn is the number of Ends after which other goroutines run.
const turn = 64

// ends calls f with all Ends until it returns false. It lets other goroutines run meanwhile, so that
// calls do not wait on a machine with few processors.
func (b *builder) ends(f func(geminio.End) bool) {
	n := 0
	for _, source := range b.h.Sources {
		for end := range source.Ends() {
			if n++; n%turn == 0 {
				runtime.Gosched()
			}
			if !f(end) {
				return
			}
		}
	}
}

// chosen calls f with the Ends that the parameter end names: one, or all if it is absent. It returns
// that one End, nil for all. If there is no such End, it makes the page that says so, and found is
// false.
func (b *builder) chosen(f func(*endItem)) (one *endItem, found bool) {
	if !b.query.Has("end") {
		b.ends(func(end geminio.End) bool {
			item := newEndItem(b, end)
			f(&item)
			return true
		})
		return nil, true
	}
	id, err := strconv.ParseUint(b.query.Get("end"), 36, 64)
	if err != nil {
		b.fail(http.StatusBadRequest, "Wrong query", "the id of the End is malformed")
		return nil, false
	}
	b.ends(func(end geminio.End) bool {
		if idOf(end) == id {
			item := newEndItem(b, end)
			one = &item
		}
		return one == nil
	})
	if one == nil {
		b.fail(http.StatusNotFound, "No such End", "This End has ended, or the program was restarted.")
		b.view.Parent = endsLink
		return nil, false
	}
	f(one)
	return one, true
}

// gather returns a gathering for a table. If the query is wrong, it makes the page that says so, and ok is
// false.
func gather[I any](b *builder, t *table[I]) (g *gathering[I], ok bool) {
	g, err := t.gather(b.query)
	if err != nil {
		b.fail(http.StatusBadRequest, "Wrong query", err.Error())
	}
	return g, err == nil
}

// addStreams adds the streams of an End.
func addStreams(g *gathering[streamItem], of *endItem) {
	for _, s := range of.end.ListStreams() {
		snap, ok := geminio.StreamSnapshotOf(s)
		if !ok {
			snap = geminio.StreamSnapshot{StreamID: s.StreamID(), ClientID: s.ClientID(), Meta: s.Meta(), Peer: s.Peer(), Side: s.Side()}
		}
		g.add(streamItem{of, snap})
	}
}

// addCalls adds the calls in flight of an End.
func addCalls(g *gathering[callItem], of *endItem) {
	if of.calls() == 0 && of.snap.WaitingForConnection == 0 {
		return
	}
	for _, c := range geminio.CallsOf(of.end, 0) {
		g.add(callItem{of, c})
	}
}

// hidden returns the columns of all tables that have nothing to show.
func (b *builder) hidden() []string {
	var hide []string
	if b.h.Name == nil {
		hide = append(hide, "name")
	}
	if !b.h.ShowMeta {
		hide = append(hide, "meta")
	}
	return hide
}

// endsPage makes the table of Ends.
func (b *builder) endsPage() {
	g, ok := gather(b, &endTable)
	if !ok {
		return
	}
	b.query.Del("end")
	b.chosen(func(i *endItem) { g.add(*i) })
	if b.status = http.StatusOK; b.asJSON {
		b.result = g.json(b.query)
		return
	}
	b.view.Heading = "Ends"
	b.view.Tables = []tableView{g.view(b.query, b.hidden()...)}
}

// streamsPage makes the table of the streams of one End or all.
func (b *builder) streamsPage() {
	if g, ok := gather(b, &streamTable); ok {
		one, found := b.chosen(func(i *endItem) { addStreams(g, i) })
		showTable(b, g, one, found)
	}
}

// callsPage makes the table of the calls of one End or all.
func (b *builder) callsPage() {
	if g, ok := gather(b, &callTable); ok {
		one, found := b.chosen(func(i *endItem) { addCalls(g, i) })
		showTable(b, g, one, found)
	}
}

// showTable makes the page of a table of streams or calls.
func showTable[I any](b *builder, g *gathering[I], one *endItem, found bool) {
	if !found {
		return
	}
	if b.status = http.StatusOK; b.asJSON {
		b.result = g.json(b.query)
		return
	}
	b.view.Heading = g.table.title
	if one != nil {
		b.view.Parent = endsLink
		b.view.Heading += " of " + one.title()
	}
	b.view.Tables = []tableView{g.view(b.query, b.hidden()...)}
}

// endPage makes the page of one End, with its calls and streams.
func (b *builder) endPage() {
	calls, ok := gather(b, &callTable)
	if !ok {
		return
	}
	streams, ok := gather(b, &streamTable)
	if !ok {
		return
	}
	if !b.query.Has("end") {
		b.fail(http.StatusBadRequest, "Wrong query", "the parameter end is missing")
		return
	}
	i, found := b.chosen(func(i *endItem) {
		addCalls(calls, i)
		addStreams(streams, i)
	})
	if !found {
		return
	}
	if b.status = http.StatusOK; b.asJSON {
		b.result = map[string]any{"end": i.json(), "calls": calls.json(b.query), "streams": streams.json(b.query)}
		return
	}
	b.view.Heading, b.view.Parent = i.title(), endsLink
	b.view.State = i.state()
	b.view.Facts = i.facts()
	hide := append(b.hidden(), "client", "name")
	b.view.Tables = []tableView{calls.view(b.query, hide...), streams.view(b.query, hide...)}
	for j := range b.view.Tables {
		b.view.Tables[j].Titled = true
	}
}

// facts returns the facts about an End.
func (i *endItem) facts() []factsView {
	s := &i.snap
	counts := func(c geminio.Counts) string { return formatCount(c.InFlight) + " of " + formatCount(c.Begun) }
	traffic := func(t geminio.Traffic) string {
		return formatBytes(t.Bytes) + " in " + formatCount(t.Frames) + " frames"
	}
	count := func(n int) string { return formatCount(uint64(max(n, 0))) }
	orNone := func(err error) string {
		if err == nil {
			return none
		}
		return errorText(err)
	}
	role := "server of the connection"
	if s.Side == geminio.InitiatorSide {
		role = "client of the connection"
	}
	connection := []factView{
		{"Client id", "", i.client()},
		{"This program", "", role},
		{"Remote address", "", i.remote()},
		{"Local address", "", address(s.LocalAddr)},
		{"Age", "The time since the connection has begun", since(i.b, s.Begin).Text},
		{"In this state", "", since(i.b, s.Since).Text},
		{"Last byte received", "Two heartbeat intervals without a byte end the connection", since(i.b, s.LastReceived).Text + " ago"},
		{"Round trip", "The last one that was measured", duration(s.RoundTrip).Text},
		{"Wire format", "", strconv.Itoa(s.Wire)},
	}
	if i.b.h.ShowMeta {
		connection = append(connection, factView{"Meta", "What the client says about itself", i.meta()})
	}
	return []factsView{
		{"Connection", connection},
		{"In flight, of all so far", []factView{
			{"Outgoing calls", "Calls of this side", counts(s.OutgoingCalls)},
			{"Incoming calls", "Handlers of this side", counts(s.IncomingCalls)},
			{"Outgoing messages", "Messages of this side that are not answered", counts(s.OutgoingMessages)},
			{"Incoming messages", "Messages of the peer that are not answered", counts(s.IncomingMessages)},
			{"Outgoing streams", "Streams that this side has opened", counts(s.OutgoingStreams)},
			{"Incoming streams", "Streams that the peer has opened", counts(s.IncomingStreams)},
			{"Streams to accept", "Streams that wait for AcceptStream", count(s.UnacceptedStreams)},
		}},
		{"Queues and memory", []factView{
			{"Sent", "", traffic(s.Sent)},
			{"Received", "", traffic(s.Received)},
			{"Memory in use", "The part of the memory budget that windows and arrived packets use", formatBytes(s.BudgetUsed)},
			{"Memory budget", "What the peer can make this side hold", formatBytes(s.MemoryBudget)},
			{"Waiting for credit", "Calls, messages and answers that the peer has no room for", count(s.WaitingForCredit)},
			{"Waiting for a connection", "Operations of an End that reconnects", count(s.WaitingForConnection)},
			{"Bytes of these", "", formatBytes(uint64(max(s.WaitingBytes, 0)))},
		}},
		{"Session", []factView{
			{"Connections", "1, unless the End reconnects", formatCount(s.Connections)},
			{"Interruptions", "How often a transport was lost while its session was kept", formatCount(s.Interruptions)},
			{"Resumes", "How often the session has continued on another transport", formatCount(s.Resumes)},
			{"Replay log", "Sent bytes that the peer may not have", formatBytes(s.ReplayLog)},
			{"Last interruption", "", orNone(s.LastInterruption)},
			{"Last failure", "Why the last attempt to connect has failed", orNone(s.LastFailure)},
			{"Cause of the end", "", orNone(s.Cause)},
		}},
	}
}

// endsLink is the link to the table of Ends.
var endsLink = navView{Title: "Ends", Href: "./"}

// nav is the links at the top.
func (b *builder) nav(current string) []navView {
	all := []navView{
		{"Ends", "./", current == "Ends"},
		{"Streams", "streams", current == streamTable.title},
		{"Calls in flight", "calls", current == callTable.title},
	}
	if b.h.Cluster != nil {
		all = append(all, navView{clusterTitle, "cluster", current == clusterTitle}, navView{clientTable.title, "clients", current == clientTable.title})
	}
	return all
}
