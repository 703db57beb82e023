package clusterinfo

import (
	"time"

	"github.com/singchia/geminio"
)

// Stats are the numbers of a node at one moment. Those of type uint64 count events since the node has
// joined its cluster, and never decrease. In JSON the times are left out.
type Stats struct {
	Nodes       int    `json:"nodes"`       // nodes that are alive, with this one, as this node knows them
	NodesLost   uint64 `json:"nodes_lost"`  // other nodes whose lease has ended, or that have left while this node had lost NATS
	Clients     int    `json:"clients"`     // clients of the cluster, as this node knows them
	Interrupted int    `json:"interrupted"` // those of Clients that have lost their connection, and whose session is kept
	Entries     int    `json:"entries"`     // entries of clients that this node holds, with those of lost nodes and those removed lately

	Connected     bool          `json:"connected"`      // this node has read the bucket, and NATS was not lost since
	Reconnects    uint64        `json:"reconnects"`     // how often the NATS connection was made again
	Lease         time.Duration `json:"-"`              // the time after which the other nodes regard this one as lost
	LeaseAge      time.Duration `json:"-"`              // since the last renewal of the lease has begun that has succeeded
	NATSSent      uint64        `json:"nats_sent"`      // bytes that the NATS connection has sent, also for other users of it
	NATSReceived  uint64        `json:"nats_received"`  // bytes that it has received
	LocalClients  int           `json:"local_clients"`  // clients that are connected to this node
	Queue         int           `json:"queue"`          // clients whose entry in the bucket is to be checked or written
	Writes        uint64        `json:"writes"`         // entries of clients that were written or removed
	FailedWrites  uint64        `json:"failed_writes"`  // attempts to do so that have failed, and are made again
	Lookups       uint64        `json:"lookups"`        // reads of the bucket, for clients that this node did not know
	Replaced      uint64        `json:"replaced"`       // connections that ended because their client was at another node
	Local         uint64        `json:"local"`          // operations of this node with its own clients
	Remote        uint64        `json:"remote"`         // requests of this node to other nodes that have begun
	Waiting       int           `json:"waiting"`        // those of Remote that have not ended
	Failed        uint64        `json:"failed"`         // those of Remote that have ended without an answer of the other node
	Executed      uint64        `json:"executed"`       // requests of other nodes that this node has begun to execute
	Running       int           `json:"running"`        // those of Executed that have not ended
	Refused       uint64        `json:"refused"`        // requests of other nodes beyond MaxRunning, which are not in Executed
	Streams       int           `json:"streams"`        // streams of other nodes to clients of this node
	Stored        uint64        `json:"stored"`         // messages of Node.BroadcastStored that the stream has stored
	Delivered     uint64        `json:"delivered"`      // stored messages that clients of this node have acknowledged, once for each client
	Declined      uint64        `json:"declined"`       // those that clients have answered with an error, or that exceed their limits
	Missed        uint64        `json:"missed"`         // times that stored messages were removed before a client of this node has got them
	Links         int           `json:"links"`          // direct connections that this node has made to others
	AcceptedLinks int           `json:"accepted_links"` // direct connections that others have made to this node
	LinkSent      uint64        `json:"link_sent"`      // bytes of frames that all direct connections have sent
	LinkReceived  uint64        `json:"link_received"`  // bytes of frames that they have received
}

// Load has some numbers of a node, which its lease tells the other nodes. The fields are those of [Stats].
type Load struct {
	Queue    int    `json:"queue,omitempty"`
	Waiting  int    `json:"waiting,omitempty"`
	Running  int    `json:"running,omitempty"`
	Streams  int    `json:"streams,omitempty"`
	Local    uint64 `json:"local,omitempty"`
	Remote   uint64 `json:"remote,omitempty"`
	Failed   uint64 `json:"failed,omitempty"`
	Executed uint64 `json:"executed,omitempty"`
}

// Node describes a node of a cluster, as another node or the node itself knows it.
type Node struct {
	ID      string
	Host    string // Options.Host of the node
	Addr    string // where it accepts direct connections
	Leaving bool   // it takes no more work, and finishes what it has begun
	Clients int    // the number of its clients; 0 if it is leaving

	Lease   time.Duration // the time after which the other nodes regard it as lost
	Renewed time.Time     // when the describing node has learned that the node has renewed its lease
	Load    Load          // at that time; of the describing node itself: now

	// Link is a snapshot of the direct connection that the describing node has made to the node, nil
	// if there is none.
	Link *geminio.EndSnapshot
}

// ClientState is the state of a client that is not offline.
type ClientState uint8

const (
	// ClientOnline: the client is connected to its node.
	ClientOnline ClientState = iota
	// ClientInterrupted: the client has lost its connection, and its node keeps its session. Operations
	// with the client wait until it resumes the session, or the session ends.
	ClientInterrupted
)

// String returns the name of the state, such as "online".
func (s ClientState) String() string {
	switch s {
	case ClientOnline:
		return "online"
	case ClientInterrupted:
		return "interrupted"
	}
	return "unknown"
}

// Client says where a client is.
type Client struct {
	ID         uint64
	Node       string      // the id of the node that has its connection or its session
	State      ClientState // changes a second later than the connection: see docs/cluster.md
	Since      time.Time   // when its End was attached, by the clock of its node
	Generation uint64      // grows with each connection of the client and each change of its State
}
