package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// wire is a link between two network namespaces, with a rate and a queue in each direction. The
// near namespace has the client, the far one the server.
type wire struct {
	near, far string // the names of the namespaces
}

const (
	nearAddress = "10.99.0.1"
	farAddress  = "10.99.0.2"
)

// newWire makes a link for rate bytes a second, before which up to queue bytes wait in each
// direction. The caller closes it.
func newWire(rate, queue int) (*wire, error) {
	w := &wire{fmt.Sprintf("peers-near-%d", os.Getpid()), fmt.Sprintf("peers-far-%d", os.Getpid())}
	bucket := fmt.Sprintf("root tbf rate %dbit burst 16kb limit %d", rate*8, queue)
	for _, line := range []string{
		"ip netns add " + w.near,
		"ip netns add " + w.far,
		"ip -n " + w.near + " link add near type veth peer name far netns " + w.far,
		"ip -n " + w.near + " addr add " + nearAddress + "/30 dev near",
		"ip -n " + w.far + " addr add " + farAddress + "/30 dev far",
		"ip -n " + w.near + " link set near up",
		"ip -n " + w.far + " link set far up",
		"tc -n " + w.near + " qdisc add dev near " + bucket,
		"tc -n " + w.far + " qdisc add dev far " + bucket,
	} {
		args := strings.Fields(line)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			w.close()
			return nil, fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return w, nil
}

// close removes the namespaces, and the link with them.
func (w *wire) close() {
	exec.Command("ip", "netns", "del", w.near).Run()
	exec.Command("ip", "netns", "del", w.far).Run()
}

// way makes a listener in the far namespace, and the way to it from the near one.
func (w *wire) way() (*way, error) {
	way := &way{}
	err := inNamespace(w.far, func() (err error) {
		way.Listener, err = net.Listen("tcp", net.JoinHostPort(farAddress, "0"))
		return err
	})
	if err != nil {
		return nil, err
	}
	address := way.Addr().String()
	way.dial = func() (c net.Conn, err error) {
		err = inNamespace(w.near, func() error {
			c, err = net.Dial("tcp", address)
			return err
		})
		return c, err
	}
	return way, nil
}

// inNamespace calls f in a thread of a network namespace. The sockets that f makes stay in the
// namespace. The thread ends with f.
func inNamespace(name string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		ns, err := os.Open(filepath.Join("/var/run/netns", name))
		if err == nil {
			err = errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close())
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}
