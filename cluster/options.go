package cluster

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"
)

const (
	defaultName       = "geminio"
	defaultLease      = 10 * time.Second
	defaultDirectSize = 64 << 10
	defaultMaxRunning = 4096
	defaultMaxMessage = 64 << 20
	defaultStoreAge   = 24 * time.Hour
	defaultStoreBytes = 1 << 30
)

// Options are the options of [Join]. The zero value stands for the defaults.
type Options struct {
	// Name is the name of the cluster. It has 1 to 64 letters, digits, "-" and "_". The bucket
	// has this name, and the subjects begin with it. All nodes of a cluster have the same Name.
	// The default is "geminio".
	Name string

	// Host describes this node to the others, for instance its host name. It need not be
	// unique, and has at most 256 bytes. The default is the empty string.
	Host string

	// Lease is the time after which the other nodes regard this node as lost, and its clients
	// as offline, if it does not renew its lease in the bucket. It renews it five times in
	// that time. JetStream checks leases once a second, so a node is lost at most two seconds
	// after the end of its lease. The default is 10 seconds. A lease is between one second and a
	// day; fractions of a second are rounded up. Leases of less than 3 seconds make sense only in
	// tests.
	Lease time.Duration

	// Replicas is the number of NATS servers that store the bucket and the stream of stored
	// messages, if this node creates them. With three replicas in a NATS cluster the bucket survives
	// the loss of one server. The default is 1, and at most 5 are possible.
	Replicas int

	// StoreMaxAge is how long the stream of [Node.BroadcastStored] keeps a message for members that have
	// not got it, if this node creates the stream. The default is 24 hours, and at least a second.
	StoreMaxAge time.Duration

	// StoreMaxBytes bounds the bytes of all messages of that stream, if this node creates it. JetStream
	// reserves them, on Replicas servers. The oldest messages are removed for new ones. The default is
	// 1 GiB, and at least 1 MiB.
	StoreMaxBytes int64

	// Listen is the TCP address at which this node accepts the direct connections of other
	// nodes. The default is ":0", which is a port that the system chooses.
	Listen string

	// Advertise is the address of Listen for the other nodes. The default has the port of
	// Listen and, if Listen has no host, the host with which this node is connected to NATS. So with
	// a NATS server on the same machine or in this process the other machines need an Advertise.
	Advertise string

	// DirectSize is the number of bytes from which on the data of a request or message is sent
	// over a direct connection and not over NATS. The default is 64 KiB. What does not fit into
	// a message of the NATS server is sent over a direct connection with every DirectSize.
	DirectSize int

	// MaxRunning bounds the calls and publications that this node executes at the same time for
	// each way, NATS and the direct connection of each node. Further ones fail with
	// geminio.ErrTooMany at their caller. The default is 4096.
	MaxRunning int

	// MaxMessageSize bounds the data of a request, response or message on the direct
	// connections. The client has its own limit. The default is 64 MiB, and at most 1 GiB is
	// possible. It should be the same at all nodes.
	MaxMessageSize int

	// Logger gets the events that no error reports, such as the loss of nodes. The default is
	// no log.
	Logger *slog.Logger
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// resolve returns the options with the defaults, or an error that names a wrong field.
func (o Options) resolve() (Options, error) {
	o.Name = cmp.Or(o.Name, defaultName)
	o.Lease = cmp.Or(o.Lease, defaultLease)
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.Listen = cmp.Or(o.Listen, ":0")
	o.DirectSize = cmp.Or(o.DirectSize, defaultDirectSize)
	o.MaxRunning = cmp.Or(o.MaxRunning, defaultMaxRunning)
	o.MaxMessageSize = cmp.Or(o.MaxMessageSize, defaultMaxMessage)
	o.StoreMaxAge = cmp.Or(o.StoreMaxAge, defaultStoreAge)
	o.StoreMaxBytes = cmp.Or(o.StoreMaxBytes, defaultStoreBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !validName.MatchString(o.Name):
		return o, &OptionError{"Name", fmt.Sprintf("%q does not consist of 1 to 64 letters, digits, - and _", o.Name)}
	case len(o.Host) > 256:
		return o, &OptionError{"Host", "has more than 256 bytes"}
	case o.Lease < time.Second || o.Lease > 24*time.Hour:
		return o, &OptionError{"Lease", fmt.Sprintf("%v is not between a second and a day", o.Lease)}
	case o.Replicas < 1 || o.Replicas > 5:
		return o, &OptionError{"Replicas", fmt.Sprintf("%d is not between 1 and 5", o.Replicas)}
	case o.StoreMaxAge < time.Second:
		return o, &OptionError{"StoreMaxAge", fmt.Sprintf("%v is less than a second", o.StoreMaxAge)}
	case o.StoreMaxBytes < 1<<20:
		return o, &OptionError{"StoreMaxBytes", fmt.Sprintf("%d is less than 1 MiB", o.StoreMaxBytes)}
	case o.DirectSize < 0:
		return o, &OptionError{"DirectSize", fmt.Sprintf("%d is below 0", o.DirectSize)}
	case o.MaxRunning < 0:
		return o, &OptionError{"MaxRunning", fmt.Sprintf("%d is below 0", o.MaxRunning)}
	case o.MaxMessageSize < 0 || o.MaxMessageSize > 1<<30:
		return o, &OptionError{"MaxMessageSize", fmt.Sprintf("%d is not between 0 and 1 GiB", o.MaxMessageSize)}
	}
	if o.Advertise != "" {
		if _, _, err := net.SplitHostPort(o.Advertise); err != nil {
			return o, &OptionError{"Advertise", err.Error()}
		}
	}
	o.Lease = (o.Lease + time.Second - 1).Truncate(time.Second)
	return o, nil
}

// OptionError reports a wrong field of [Options].
type OptionError struct {
	Field  string
	Reason string
}

// Error returns a text with the field and the reason.
func (e *OptionError) Error() string { return "cluster: option " + e.Field + ": " + e.Reason }
