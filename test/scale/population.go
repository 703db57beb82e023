package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/gauge"
)

// order is a request of the server's process to that of the clients. One order is under
// way at a time.
type order struct {
	Connect int    // the number of clients to connect
	Address string // the address of the server

	Call  time.Duration // the duration of calling
	Every time.Duration // the time in which each client calls once

	Close bool // close all clients
}

// answer is the answer to an order.
type answer struct {
	Error string
	Calls calls
	Usage gauge.Usage // the usage minus that without clients
}

// role is the environment variable of the process of the clients. The clients are in a
// process of their own since the descriptors of both sides may be more than one process
// may open.
const role = "GEMINIO_SCALE"

func holdsClients() bool { return os.Getenv(role) == "clients" }

// population is the process of the clients, from the view of the server's process. One
// goroutine uses it.
type population struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	encoder *json.Encoder
	answers *json.Decoder
}

// newPopulation starts this program again. The process runs until ctx ends.
func newPopulation(ctx context.Context) (*population, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), role+"=clients")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &population{cmd, in, json.NewEncoder(in), json.NewDecoder(out)}, nil
}

// do sends an order and waits for its answer.
func (p *population) do(o order) (answer, error) {
	var a answer
	if err := p.encoder.Encode(o); err != nil {
		return a, err
	}
	if err := p.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("the process of the clients says nothing: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("the process of the clients: %s", a.Error)
	}
	return a, nil
}

// leave ends the process.
func (p *population) leave() error {
	p.orders.Close()
	return p.cmd.Wait()
}

// hold executes the orders that arrive on in. It is the main function of the process of
// the clients.
func hold(in io.Reader, out io.Writer) error {
	var h holder
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := answers.Encode(h.obey(o)); err != nil {
			return err
		}
	}
}

// holder has the clients.
type holder struct {
	before gauge.Usage
	ends   []geminio.End
}

func (h *holder) obey(o order) (a answer) {
	var err error
	switch {
	case o.Connect > 0:
		h.before = gauge.Take()
		err = h.connect(o.Address, o.Connect)
	case o.Call > 0:
		a.Calls = callNowAndThen(context.Background(), h.ends, o.Call, o.Every)
	case o.Close:
		err = inTurns(len(h.ends), func(i int) error { return h.ends[i].Close() })
		h.ends = nil
	}
	if err != nil {
		a.Error = err.Error()
	}
	a.Usage = gauge.Settle(gauge.Patience, quiet(h.before, len(h.ends))).Since(h.before)
	return a
}

// quiet reports whether n Ends have no more goroutines than they need.
func quiet(before gauge.Usage, n int) func(gauge.Usage) bool {
	return func(u gauge.Usage) bool { return u.Goroutines <= before.Goroutines+n }
}

func (h *holder) connect(address string, n int) error {
	opt := client.NewEndOptions()
	opt.SetRegisterLocalRPCs(methods())
	h.ends = make([]geminio.End, n)
	return inTurns(n, func(i int) (err error) {
		h.ends[i], err = client.NewEnd("tcp", address, opt)
		return err
	})
}

// inTurns calls do n times, with a bounded number of calls at a time, and returns the
// first error.
func inTurns(n int, do func(i int) error) (first error) {
	const atOnce = 64
	var wg sync.WaitGroup
	var once sync.Once
	next := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return first
}
