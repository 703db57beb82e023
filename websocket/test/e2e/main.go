// Command e2e runs the end-to-end tests of geminio over WebSockets, and with -nginx over
// WebSockets through an nginx that it starts. Its other arguments are those of "go test". It
// runs in the directory websocket of the repository.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/singchia/geminio/websocket/test/network"
)

func main() {
	throughProxy := flag.Bool("nginx", false, "connect through an nginx")
	flag.Parse()
	if err := run(*throughProxy, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

// run runs the tests.
func run(throughProxy bool, args []string) error {
	dir, err := os.MkdirTemp("", "geminio")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	overlay, work, err := prepare(root, dir)
	if err != nil {
		return err
	}
	env := append(os.Environ(), "GOWORK="+work, "NETWORK=ws")
	if throughProxy {
		address, stop, err := startProxy(dir)
		if err != nil {
			return err
		}
		defer stop()
		env = append(env, "NETWORK=nginx", network.ProxyVariable+"="+address)
	}
	c := exec.Command("go", append([]string{"test", "-overlay", overlay}, args...)...)
	c.Args = append(c.Args, "./test/e2e")
	c.Dir = root
	c.Env, c.Stdout, c.Stderr = env, os.Stdout, os.Stderr
	return c.Run()
}

// imports is a file of the tests that adds the networks. It is not in the tree, since the
// root module does not require the module websocket.
const imports = `package e2e

import _ "github.com/singchia/geminio/websocket/test/network"
`

// prepare writes the overlay that adds imports to the tests, and the workspace with both
// modules.
func prepare(root, dir string) (overlay, work string, err error) {
	source := filepath.Join(dir, "networks_test.go")
	mapping, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(root, "test", "e2e", "networks_test.go"): source},
	})
	if err != nil {
		return "", "", err
	}
	overlay, work = filepath.Join(dir, "overlay.json"), filepath.Join(dir, "go.work")
	return overlay, work, errors.Join(
		os.WriteFile(source, []byte(imports), 0o600),
		os.WriteFile(overlay, mapping, 0o600),
		os.WriteFile(work, fmt.Appendf(nil, "go 1.26\n\nuse (\n\t%s\n\t%s\n)\n", root, filepath.Join(root, "websocket")), 0o600),
	)
}

// startProxy starts an nginx and returns its address.
func startProxy(dir string) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(network.Config(dir, address)), 0o600); err != nil {
		return "", nil, err
	}
	c := exec.Command("nginx", "-c", config, "-e", filepath.Join(dir, "error.log"))
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		c.Process.Signal(syscall.SIGTERM) // Kill would leave its worker process
		c.Wait()
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
			return address, stop, nil
		}
		if time.Since(begin) > 10*time.Second {
			stop()
			return "", nil, fmt.Errorf("nginx does not listen: %w", err)
		}
	}
}
