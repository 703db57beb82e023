package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/singchia/geminio/inspect"
)

// tableColumn is a column of a printed table. A column without any text is left out.
type tableColumn[Row any] struct {
	title string
	right bool // numbers are at the right
	text  func(Row) string
}

var endColumns = []tableColumn[inspect.End]{
	{"ID", false, func(e inspect.End) string { return e.ID }},
	{"NAME", false, func(e inspect.End) string { return e.Name }},
	{"CLIENT", false, func(e inspect.End) string { return strconv.FormatUint(e.ClientID, 10) }},
	{"META", false, func(e inspect.End) string { return e.Meta }},
	{"REMOTE", false, func(e inspect.End) string { return e.RemoteAddr }},
	{"STATE", false, func(e inspect.End) string { return e.State }},
	{"AGE", true, func(e inspect.End) string { return seconds(e.Age) }},
	{"TRIP", true, func(e inspect.End) string { return seconds(e.RoundTrip) }},
	{"STREAMS", true, func(e inspect.End) string { return inFlight(e.OutgoingStreams, e.IncomingStreams) }},
	{"CALLS", true, func(e inspect.End) string { return inFlight(e.OutgoingCalls, e.IncomingCalls) }},
	{"OLDEST", true, func(e inspect.End) string { return seconds(e.OldestCall) }},
	{"MESSAGES", true, func(e inspect.End) string { return inFlight(e.OutgoingMessages, e.IncomingMessages) }},
	{"WAITING", true, func(e inspect.End) string { return strconv.Itoa(e.WaitingForCredit + e.WaitingForConnection) }},
	{"MEMORY", true, func(e inspect.End) string { return bytesOf(e.BudgetUsed) }},
	{"SENT", true, func(e inspect.End) string { return bytesOf(e.BytesSent) }},
	{"RECEIVED", true, func(e inspect.End) string { return bytesOf(e.BytesReceived) }},
	{"RESUMES", true, func(e inspect.End) string { return strconv.FormatUint(e.Resumes, 10) }},
	{"LAST ERROR", false, func(e inspect.End) string { return e.LastError }},
}

var streamColumns = []tableColumn[inspect.Stream]{
	{"END", false, func(s inspect.Stream) string { return s.End }},
	{"CLIENT", false, func(s inspect.Stream) string { return strconv.FormatUint(s.ClientID, 10) }},
	{"STREAM", true, func(s inspect.Stream) string { return strconv.FormatUint(s.StreamID, 10) }},
	{"PEER", false, func(s inspect.Stream) string { return s.Peer }},
	{"META", false, func(s inspect.Stream) string { return s.Meta }},
	{"SIDE", false, func(s inspect.Stream) string { return s.Side }},
	{"STATE", false, func(s inspect.Stream) string { return s.State }},
	{"BLOCKED", true, func(s inspect.Stream) string { return seconds(s.Blocked) }},
	{"AGE", true, func(s inspect.Stream) string { return seconds(s.Age) }},
	{"CALLS", true, func(s inspect.Stream) string { return inFlight(s.OutgoingCalls, s.IncomingCalls) }},
	{"MESSAGES", true, func(s inspect.Stream) string { return inFlight(s.OutgoingMessages, s.IncomingMessages) }},
	{"UNREAD", true, func(s inspect.Stream) string { return bytesOf(s.RawWindow.Held) }},
	{"UNRECEIVED", true, func(s inspect.Stream) string { return strconv.Itoa(s.Unreceived) }},
	{"QUEUED", true, func(s inspect.Stream) string { return bytesOf(s.QueuedBytes) }},
	{"CREDIT", true, func(s inspect.Stream) string { return bytesOf(s.RawCredit) }},
	{"WINDOW", true, func(s inspect.Stream) string { return bytesOf(s.RawWindow.Size) }},
	{"SENT", true, func(s inspect.Stream) string { return bytesOf(s.BytesSent) }},
	{"RECEIVED", true, func(s inspect.Stream) string { return bytesOf(s.BytesReceived) }},
}

var callColumns = []tableColumn[inspect.Call]{
	{"END", false, func(c inspect.Call) string { return c.End }},
	{"CLIENT", false, func(c inspect.Call) string { return strconv.FormatUint(c.ClientID, 10) }},
	{"METHOD", false, func(c inspect.Call) string { return c.Method }},
	{"DIRECTION", false, func(c inspect.Call) string { return c.Direction }},
	{"STATE", false, func(c inspect.Call) string { return c.State }},
	{"AGE", true, func(c inspect.Call) string { return seconds(c.Age) }},
	{"STREAM", true, func(c inspect.Call) string { return strconv.FormatUint(c.StreamID, 10) }},
	{"NUMBER", true, func(c inspect.Call) string { return strconv.FormatUint(c.Number, 10) }},
}

var nodeColumns = []tableColumn[inspect.Node]{
	{"NODE", false, func(n inspect.Node) string {
		if n.This {
			return cmp.Or(n.Host, n.ID) + " (this)"
		}
		return cmp.Or(n.Host, n.ID)
	}},
	{"STATE", false, func(n inspect.Node) string { return n.State }},
	{"ADDRESS", false, func(n inspect.Node) string { return n.Addr }},
	{"LEASE", true, func(n inspect.Node) string { return seconds(n.LeaseAge) }},
	{"CLIENTS", true, func(n inspect.Node) string { return strconv.Itoa(n.Clients) }},
	{"WAITING", true, func(n inspect.Node) string { return strconv.Itoa(n.Load.Waiting) }},
	{"RUNNING", true, func(n inspect.Node) string { return strconv.Itoa(n.Load.Running) }},
	{"QUEUE", true, func(n inspect.Node) string { return strconv.Itoa(n.Load.Queue) }},
	{"REMOTE", true, func(n inspect.Node) string { return strconv.FormatUint(n.Load.Remote, 10) }},
	{"EXECUTED", true, func(n inspect.Node) string { return strconv.FormatUint(n.Load.Executed, 10) }},
	{"FAILED", true, func(n inspect.Node) string { return strconv.FormatUint(n.Load.Failed, 10) }},
	linkColumn("DIRECT", func(l *inspect.Link) string { return l.State }),
	linkColumn("TRIP", func(l *inspect.Link) string { return seconds(l.RoundTrip) }),
	linkColumn("SENT", func(l *inspect.Link) string { return bytesOf(l.BytesSent) }),
	linkColumn("RECEIVED", func(l *inspect.Link) string { return bytesOf(l.BytesReceived) }),
	{"ID", false, func(n inspect.Node) string { return n.ID }},
}

// linkColumn returns a column about the direct connections to nodes.
func linkColumn(title string, text func(*inspect.Link) string) tableColumn[inspect.Node] {
	return tableColumn[inspect.Node]{title, true, func(n inspect.Node) string {
		if n.Link == nil {
			return ""
		}
		return text(n.Link)
	}}
}

var clientColumns = []tableColumn[inspect.Client]{
	{"CLIENT", true, func(c inspect.Client) string { return strconv.FormatUint(c.ID, 10) }},
	{"NODE", false, func(c inspect.Client) string { return c.NodeName }},
	{"STATE", false, func(c inspect.Client) string { return c.State }},
	{"AGE", true, func(c inspect.Client) string { return seconds(c.Age) }},
	{"GENERATION", true, func(c inspect.Client) string { return strconv.FormatUint(c.Generation, 10) }},
}

// inFlight adds the numbers in flight of both directions.
func inFlight(a, b inspect.Counts) string { return strconv.FormatUint(a.InFlight+b.InFlight, 10) }

// plain escapes characters that do not print. The texts come from a process that may be hostile.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// printTable prints rows in columns, and how many further rows there are.
func printTable[Row any](out io.Writer, columns []tableColumn[Row], rows []Row, matching int) error {
	texts := make([][]string, len(columns))
	widths := make([]int, len(columns))
	for i, c := range columns {
		texts[i] = append(texts[i], c.title)
		for _, row := range rows {
			text := plain(c.text(row))
			texts[i] = append(texts[i], text)
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
		if widths[i] > 0 || len(rows) == 0 {
			widths[i] = max(widths[i], len(c.title))
		}
	}
	w := bufio.NewWriter(out)
	for line := range len(rows) + 1 {
		var b strings.Builder
		for i, c := range columns {
			if widths[i] == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("  ")
			}
			text := texts[i][line]
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if c.right {
				b.WriteString(pad + text)
			} else {
				b.WriteString(text + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	if more := matching - len(rows); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	return w.Flush()
}
