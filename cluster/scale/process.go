package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

// The program starts itself again for each process of the cluster, with a role and its settings in the
// environment. A process prints that it is ready, obeys the orders of its standard input one after the other,
// and ends when the input ends.
const (
	roleVariable     = "GEMINIO_CLUSTER_SCALE_ROLE"
	settingsVariable = "GEMINIO_CLUSTER_SCALE_SETTINGS"
)

// settings are the settings of a process.
type settings struct {
	Index    int           // of a NATS server
	Dir      string        // of a NATS server
	Routes   []string      // of a NATS server
	URL      string        // of the NATS server of a node
	Lease    time.Duration // of a node
	Replicas int           // of the bucket
	Direct   int           // cluster.Options.DirectSize of a node
}

// ready is what a process prints when it is ready.
type ready struct {
	Error string
	ID    string // of a node
	Addr  string // for clients, of a node or of NATS
}

// order is what a process is to do.
type order struct {
	Do        string
	Addresses []string // of the nodes, for clients
	First, N  uint64   // ids of clients, or how often
	Clients   uint64   // all clients have ids from 1 to Clients
	Groups    uint64   // a client is a member of the group with the number id modulo Groups
	Group     string
	Size      int64
	Seed      uint64
}

// answer is the result of an order.
type answer struct {
	Error               string
	Usage               gauge.Usage
	Traffic             traffic
	Where               tallies
	Done, Failed, Wrong int
	First               string        // the first failure
	Took, Half, Most    time.Duration // the whole, and what half and 99% of the operations took at most
	Bytes               int64
	Sum                 []byte
}

// traffic counts what passed between a process and NATS, or all that a NATS server received and sent, and the
// time for which the process used processors.
type traffic struct {
	InMessages, OutMessages, InBytes, OutBytes uint64
	Processor                                  time.Duration
}

// plus returns the sum of t and o.
func (t traffic) plus(o traffic) traffic {
	return traffic{t.InMessages + o.InMessages, t.OutMessages + o.OutMessages, t.InBytes + o.InBytes, t.OutBytes + o.OutBytes, t.Processor + o.Processor}
}

// minus returns the difference of t and o.
func (t traffic) minus(o traffic) traffic {
	return traffic{t.InMessages - o.InMessages, t.OutMessages - o.OutMessages, t.InBytes - o.InBytes, t.OutBytes - o.OutBytes, t.Processor - o.Processor}
}

// tally is a number of clients and the sum of the hashes of their ids. Equal tallies are of the same clients.
type tally struct {
	Clients int
	Sum     uint64
}

// tallies are the clients of each node, by its id or its address.
type tallies map[string]tally

// add counts a client.
func (t tallies) add(node string, id uint64) {
	was := t[node]
	h := (id ^ id>>31) * 0x9e3779b97f4a7c15
	t[node] = tally{was.Clients + 1, was.Sum + (h^h>>29)*0xbf58476d1ce4e5b9}
}

// actor is a process of a role, from inside.
type actor interface{ obey(o order) answer }

// roles make the actor of a process.
var roles = map[string]func(settings) (actor, ready, error){"nats": newNATS, "node": newNode, "clients": newClients}

// act is the main function of a process with a role.
func act(role string, in io.Reader, out io.Writer) error {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(settingsVariable)), &s); err != nil {
		return err
	}
	a, r, err := roles[role](s)
	if err != nil {
		r.Error = err.Error()
	}
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	if encode := answers.Encode(r); err != nil || encode != nil {
		return errors.Join(err, encode)
	}
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := answers.Encode(a.obey(o)); err != nil {
			return err
		}
	}
}

// process is a process, from outside. All methods are safe for concurrent use.
type process struct {
	role string
	ready
	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex // one order is under way
	answers *json.Decoder
}

// start starts a process, which ends with ctx, and waits until it is ready.
func start(ctx context.Context, role string, s settings) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &process{role: role, cmd: exec.CommandContext(ctx, program)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, settingsVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(out)
	if err := p.answers.Decode(&p.ready); err != nil {
		p.kill()
		return nil, fmt.Errorf("a process of %s says nothing: %w", role, err)
	}
	if p.Error != "" {
		p.kill()
		return nil, fmt.Errorf("a process of %s: %s", role, p.Error)
	}
	return p, nil
}

// do gives an order and waits for its answer.
func (p *process) do(o order) (a answer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return a, err
	}
	if err := p.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("a process of %s does not answer %q: %w", p.role, o.Do, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("a process of %s cannot %q: %s", p.role, o.Do, a.Error)
	}
	return a, nil
}

// end lets a process end, and waits for it.
func (p *process) end() {
	p.in.Close()
	p.cmd.Wait()
}

// kill kills a process.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.in.Close()
	p.cmd.Wait()
}
