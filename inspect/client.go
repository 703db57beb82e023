package inspect

import (
	"net/url"
	"strconv"

	"github.com/singchia/geminio/clusterinfo"
)

// clientItem is a client of a cluster at the moment of a page.
type clientItem struct {
	b      *builder
	client clusterinfo.Client
	node   string // the name of its node
	local  bool   // it is connected to the node of this process
}

// Client is a client of a cluster in JSON.
type Client struct {
	ID         uint64  `json:"id,string"`
	Node       string  `json:"node"`      // the id of its node
	NodeName   string  `json:"node_name"` // the host of its node, or the id if it has none
	Local      bool    `json:"local"`     // it is connected to the node of this process
	State      string  `json:"state"`
	Age        float64 `json:"age"` // since its End was attached, in seconds
	Generation uint64  `json:"generation"`
}

// json returns the client in JSON.
func (i *clientItem) json() any {
	c := &i.client
	return Client{
		ID: c.ID, Node: printable(c.Node), NodeName: i.node, Local: i.local, State: c.State.String(),
		Age: i.b.age(c.Since).Seconds(), Generation: c.Generation,
	}
}

// id returns the id of the client as a text.
func (i *clientItem) id() string { return strconv.FormatUint(i.client.ID, 10) }

// nodeName returns the name of the node of the client, and says whether it is that of this process.
func (i *clientItem) nodeName() string {
	if i.local {
		return i.node + thisNode
	}
	return i.node
}

// clientTones has the tones of the states of clients.
var clientTones = map[clusterinfo.ClientState]string{clusterinfo.ClientOnline: "good", clusterinfo.ClientInterrupted: "bad"}

// ofState returns a choice of the clients in a state.
func ofState(s clusterinfo.ClientState) choice[clientItem] {
	return choice[clientItem]{s.String(), s.String(), func(i *clientItem) bool { return i.client.State == s }}
}

// clientTable is the table of clients. In the order by id, the client whose id is the filter comes first,
// since no smaller id contains it. The ids of nodes are not searched, since they have digits.
var clientTable = table[clientItem]{
	name: "clients", title: "Clients", order: "client", choosing: "State",
	choices: []choice[clientItem]{ofState(clusterinfo.ClientOnline), ofState(clusterinfo.ClientInterrupted)},
	empty:   "There are no clients.",
	id:      func(i *clientItem) rowID { return rowID{i.client.ID} },
	row:     (*clientItem).json,
	columns: []column[clientItem]{
		{name: "client", title: "Client", class: "id", number: func(i *clientItem) uint64 { return i.client.ID }, text: (*clientItem).id,
			show: func(i *clientItem) cell {
				c := cell{Text: i.id()}
				if i.local {
					c.Href, c.Hint = "./?ends.q="+i.id(), "the End of the client"
				}
				return c
			}},
		{name: "node", title: "Node", class: "text", text: (*clientItem).nodeName,
			show: func(i *clientItem) cell {
				return cell{Text: i.nodeName(), Href: "clients?node=" + url.QueryEscape(i.client.Node), Hint: printable(i.client.Node)}
			}},
		{name: "state", title: "State", class: "state", text: func(i *clientItem) string { return i.client.State.String() },
			show: func(i *clientItem) cell {
				return cell{Text: i.client.State.String(), Tone: clientTones[i.client.State]}
			}},
		{name: "age", title: "Age", class: "age", hint: "The time since its End was attached, by the clock of its node",
			number: func(i *clientItem) uint64 { return sinceKey(i.client.Since) },
			show:   func(i *clientItem) cell { return since(i.b, i.client.Since) }},
		{name: "generation", title: "Generation", class: "number", hint: "It grows with each connection of the client and each change of its state",
			number: func(i *clientItem) uint64 { return i.client.Generation }},
	},
}
