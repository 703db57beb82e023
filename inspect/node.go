package inspect

import (
	"cmp"
	"hash/maphash"
	"net/url"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/clusterinfo"
)

// nodeItem is a node at the moment of a page.
type nodeItem struct {
	b    *builder
	node clusterinfo.Node
	this string // the id of the node of this process
}

// Node is a node of a cluster in JSON, as the node of this process knows it. Times are in seconds.
type Node struct {
	ID       string           `json:"id"` // for the parameter node
	Host     string           `json:"host,omitempty"`
	Addr     string           `json:"addr"` // for direct connections
	This     bool             `json:"this"` // it is the node of this process
	State    string           `json:"state"`
	Clients  int              `json:"clients"`
	Lease    float64          `json:"lease"`          // the time after which it is lost
	LeaseAge float64          `json:"lease_age"`      // since this node has learned of a renewal
	Load     clusterinfo.Load `json:"load"`           // when it has renewed its lease
	Link     *Link            `json:"link,omitempty"` // the direct connection to it
}

// Link is a direct connection of the node of this process to another one in JSON. The fields are those of
// [End].
type Link struct {
	State         string  `json:"state"`
	Age           float64 `json:"age"`
	RoundTrip     float64 `json:"round_trip"`
	BytesSent     uint64  `json:"bytes_sent"`
	BytesReceived uint64  `json:"bytes_received"`
}

// json returns the node in JSON.
func (i *nodeItem) json() any {
	n := &i.node
	j := Node{
		ID: printable(n.ID), Host: printable(n.Host), Addr: i.addr(), This: i.isThis(), State: i.state().Text, Clients: n.Clients,
		Lease: n.Lease.Seconds(), LeaseAge: i.b.age(n.Renewed).Seconds(), Load: n.Load,
	}
	if s := n.Link; s != nil {
		j.Link = &Link{
			State: s.State.String(), Age: i.b.age(s.Begin).Seconds(), RoundTrip: s.RoundTrip.Seconds(),
			BytesSent: s.Sent.Bytes, BytesReceived: s.Received.Bytes,
		}
	}
	return j
}

// nameOf returns the name of a node for operators: its host, or its id if it has none.
func nameOf(n *clusterinfo.Node) string { return printable(cmp.Or(n.Host, n.ID)) }

func (i *nodeItem) isThis() bool { return i.node.ID == i.this }
func (i *nodeItem) addr() string { return printable(i.node.Addr) }

// thisNode marks the node of this process.
const thisNode = " (this)"

// name returns the name of the node, and says whether it is that of this process.
func (i *nodeItem) name() string {
	if i.isThis() {
		return nameOf(&i.node) + thisNode
	}
	return nameOf(&i.node)
}

// state returns the state of the node.
func (i *nodeItem) state() cell {
	switch {
	case i.node.Leaving:
		return cell{Text: "leaving", Tone: "busy", Hint: "it finishes what it has begun"}
	case i.late():
		return cell{Text: "late", Tone: "bad", Hint: "it has not renewed its lease in time"}
	}
	return cell{Text: "alive", Tone: "good"}
}

// late reports whether the node has not renewed its lease for two thirds of the time of the lease, in which
// a node renews it several times.
func (i *nodeItem) late() bool {
	return i.node.Lease > 0 && i.b.age(i.node.Renewed) > i.node.Lease*2/3
}

// link returns the state of the direct connection.
func (i *nodeItem) link() cell {
	if i.node.Link == nil {
		return cell{Text: none}
	}
	s := i.node.Link.State
	return cell{Text: s.String(), Tone: stateTones[s]}
}

// linkNumber returns a column for a number of the direct connection.
func linkNumber(name, title string, number func(*geminio.EndSnapshot) uint64, show func(uint64) string) column[nodeItem] {
	value := func(i *nodeItem) uint64 {
		if i.node.Link == nil {
			return 0
		}
		return number(i.node.Link)
	}
	return column[nodeItem]{name: name, title: title, class: "bytes", hint: "By the direct connection of this node to it", number: value,
		show: func(i *nodeItem) cell {
			if i.node.Link == nil {
				return cell{Text: none}
			}
			return cell{Text: show(value(i))}
		}}
}

// loadNumber returns a column for a number of the load.
func loadNumber(name, title, class, hint string, number func(*clusterinfo.Load) uint64) column[nodeItem] {
	return column[nodeItem]{name: name, title: title, class: class, hint: hint + ", when it has renewed its lease",
		number: func(i *nodeItem) uint64 { return number(&i.node.Load) }}
}

// nodeTable is the table of nodes.
var nodeTable = table[nodeItem]{
	name: "nodes", title: "Nodes", order: "name",
	empty: "There are no nodes.",
	id:    func(i *nodeItem) rowID { return rowID{maphash.String(seed, i.node.ID)} },
	row:   (*nodeItem).json,
	columns: []column[nodeItem]{
		{name: "name", title: "Node", class: "text", text: (*nodeItem).name,
			show: func(i *nodeItem) cell {
				return cell{Text: i.name(), Href: "clients?node=" + url.QueryEscape(i.node.ID), Hint: "the clients of " + printable(i.node.ID)}
			}},
		{name: "state", title: "State", class: "state", text: func(i *nodeItem) string { return i.state().Text }, show: (*nodeItem).state},
		{name: "addr", title: "Address", class: "address", hint: "Where it accepts direct connections", text: (*nodeItem).addr},
		{name: "lease", title: "Lease age", class: "age", hint: "The time since this node has learned of a renewal of its lease",
			number: func(i *nodeItem) uint64 { return sinceKey(i.node.Renewed) },
			show: func(i *nodeItem) cell {
				c := since(i.b, i.node.Renewed)
				c.Hint = "of " + formatDuration(i.node.Lease.Truncate(time.Second))
				return c
			}},
		{name: "clients", title: "Clients", class: "number", hint: "The clients that are connected to it",
			number: func(i *nodeItem) uint64 { return uint64(max(i.node.Clients, 0)) }},
		loadNumber("waiting", "Waiting", "number", "Its requests to other nodes that wait for an answer", func(l *clusterinfo.Load) uint64 { return uint64(max(l.Waiting, 0)) }),
		loadNumber("running", "Running", "number", "The requests of other nodes that it executes", func(l *clusterinfo.Load) uint64 { return uint64(max(l.Running, 0)) }),
		loadNumber("queue", "To write", "number", "Its clients whose entry is to be checked or written", func(l *clusterinfo.Load) uint64 { return uint64(max(l.Queue, 0)) }),
		loadNumber("remote", "Remote", "total", "All its requests to other nodes so far", func(l *clusterinfo.Load) uint64 { return l.Remote }),
		loadNumber("executed", "Executed", "total", "All requests of other nodes so far that it has begun to execute", func(l *clusterinfo.Load) uint64 { return l.Executed }),
		loadNumber("failed", "Failed", "number", "All its requests so far that were not answered", func(l *clusterinfo.Load) uint64 { return l.Failed }),
		{name: "link", title: "Direct", class: "link", hint: "The direct connection of this node to it",
			text: func(i *nodeItem) string { return i.link().Text }, show: (*nodeItem).link},
		linkNumber("trip", "Round trip", func(s *geminio.EndSnapshot) uint64 { return uint64(max(s.RoundTrip, 0)) },
			func(n uint64) string { return duration(time.Duration(n)).Text }),
		linkNumber("sent", "Sent", func(s *geminio.EndSnapshot) uint64 { return s.Sent.Bytes }, formatBytes),
		linkNumber("received", "Received", func(s *geminio.EndSnapshot) uint64 { return s.Received.Bytes }, formatBytes),
		{name: "id", title: "Id", class: "node", text: func(i *nodeItem) string { return printable(i.node.ID) }},
	},
}
