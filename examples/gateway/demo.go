package main

// The demonstration: nodes as processes, and devices in this process.

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/singchia/geminio/examples/internal/cli"
)

const demoUsage = `gateway demo starts three nodes on this machine, each a process with a NATS server of a cluster of
three, and a thousand simulated devices. Node 1 serves operators on the port of -port, node 2 on the
next port, and node 3 on the next but one. Each node has an inspector, at the address that it prints. All
addresses are on the loopback interface.

  gateway demo [FLAGS]

It prints the number of the process of each node: kill -9 shows how its devices move to the others. The
demonstration ends on SIGINT or SIGTERM, or when all nodes have ended.
`

const (
	// demoNodes is the number of nodes, and of NATS servers.
	demoNodes = 3
	// devicePorts, routePorts and inspectPorts are the distances of other ports to those of operators.
	devicePorts, routePorts, inspectPorts = 10, 20, 30
	// demoLease is longer than NATS needs for a new leader after the loss of a server.
	demoLease = "5s"
)

// demo is one run of gateway demo.
type demo struct {
	*cli.Program
	port, devices int
	dir           string // has the files of the NATS servers
}

func demoMain(args []string) int {
	d := &demo{Program: cli.New("gateway demo", demoUsage)}
	d.Flags.IntVar(&d.port, "port", 1221, "serve operators on the ports from `PORT` on, devices on those from PORT+10 on, let NATS servers listen on those from PORT+20 on, and show the inspectors on those from PORT+30 on; 0: use free ports")
	d.Flags.IntVar(&d.devices, "n", 1000, "start `N` devices")
	return d.Main(args, d.run)
}

// run runs the demonstration until ctx ends.
func (d *demo) run(signal context.Context) error {
	switch {
	case d.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", d.Flags.Arg(0))
	case d.port < 0 || d.port > 65000:
		return cli.Usagef("-port must be from 0 to 65000")
	case d.devices < 1:
		return cli.Usagef("-n must be above 0")
	}
	routes, err := d.routes()
	if err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "gateway-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.dir) // after the end of the nodes
	ctx, cancel := context.WithCancelCause(signal)
	defer cancel(nil)
	password := rand.Text()
	var nodes []*nodeProcess
	var running sync.WaitGroup
	defer func() {
		for _, n := range nodes {
			n.stdin.Close() // the node ends
		}
		running.Wait()
	}()
	left := make(chan *nodeProcess, demoNodes)
	for i := range demoNodes {
		n, err := d.start(i, routes, password)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		running.Go(func() { n.relay(d.Stdout); left <- n })
	}
	running.Go(func() { // watches the nodes
		for range demoNodes {
			n := <-left
			fmt.Fprintf(d.Stdout, "%s has ended: %v\n", n.name, n.cmd.ProcessState)
		}
		cancel(errors.New("all nodes have ended"))
	})
	var addresses []string
	for _, n := range nodes {
		select {
		case address := <-n.ready:
			addresses = append(addresses, address)
		case <-n.ended:
			return fmt.Errorf("%s has not started", n.name)
		case <-ctx.Done():
			return nil
		}
	}
	c := fleetConfig{connect: strings.Join(addresses, ","), first: 1, number: d.devices, log: d.Log}
	c.tls = cli.ClientTLSFlags(flag.NewFlagSet("", flag.ContinueOnError)) // no TLS
	err = runDevices(ctx, c, func() { fmt.Fprintf(d.Stdout, "%d devices are connected\n", d.devices) })
	if signal.Err() != nil {
		return nil
	}
	return err
}

// routes returns the addresses at which the NATS servers listen for each other.
func (d *demo) routes() ([]string, error) {
	var routes []string
	for i := range demoNodes {
		if d.port > 0 {
			routes = append(routes, loopback(d.port+routePorts+i))
			continue
		}
		l, err := net.Listen("tcp", loopback(0))
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all have a port
		routes = append(routes, l.Addr().String())
	}
	return routes, nil
}

// loopback returns the address with a port on the loopback interface.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// nodeProcess is a node.
type nodeProcess struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer // the node ends when it is closed
	output io.Reader
	ready  chan string   // receives the address for devices
	ended  chan struct{} // closed when the process has ended
}

// start starts a node.
func (d *demo) start(i int, routes []string, password string) (*nodeProcess, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port := func(distance int) string {
		if d.port == 0 {
			return loopback(0)
		}
		return loopback(d.port + distance + i)
	}
	n := &nodeProcess{name: fmt.Sprintf("node-%d", i+1), ready: make(chan string, 1), ended: make(chan struct{})}
	n.cmd = exec.Command(program, "node", "-with-stdin", "-name", n.name,
		"-http", port(0), "-listen", port(devicePorts), "-inspect", port(inspectPorts),
		"-nats-name", n.name, "-nats-dir", filepath.Join(d.dir, n.name), "-nats-route-listen", routes[i], "-nats-routes", strings.Join(routes, ","),
		"-replicas", strconv.Itoa(demoNodes), "-lease", demoLease)
	n.cmd.Env = append(os.Environ(), natsVariable+"="+password)
	n.cmd.Stderr = d.Stderr
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if n.output, err = n.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	fmt.Fprintf(d.Stdout, "%s is process %d\n", n.name, n.cmd.Process.Pid)
	return n, nil
}

// readyLine is what a node prints when it serves devices.
var readyLine = regexp.MustCompile(`^devices connect to (\S+), operators`)

// relay copies what the node prints, with its name before each line, and waits until it has ended.
func (n *nodeProcess) relay(out io.Writer) {
	defer close(n.ended)
	for lines := bufio.NewScanner(n.output); lines.Scan(); {
		fmt.Fprintf(out, "%s: %s\n", n.name, lines.Text())
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			n.ready <- m[1]
		}
	}
	n.cmd.Wait() // the state has how it has ended
}
