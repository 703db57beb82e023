package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// system is a tunnel: a name, and how to start it.
type system struct {
	name  string
	tls   bool
	ours  bool
	start func(h *host, t *tunnel, tls bool) error
}

// direct is the name of the way without a tunnel.
const direct = "direct"

// systems lists the tunnels, each without TLS and with it.
func systems() []system {
	list := []system{{name: direct, start: func(h *host, t *tunnel, _ bool) error {
		t.addr = h.server
		return nil
	}}}
	for _, tls := range []bool{false, true} {
		for _, s := range []system{
			{name: "relay", ours: true, start: startRelay},
			{name: "traversal", ours: true, start: startTraversal},
			{name: "chisel", start: startChisel},
			{name: "frp", start: startFRP},
		} {
			if s.tls = tls; tls {
				s.name += " with TLS"
			}
			list = append(list, s)
		}
	}
	return list
}

// startRelay starts an in and an out: the in dials, and the clients are on its side.
func startRelay(h *host, t *tunnel, tls bool) error {
	hop, err := freeAddr()
	if err != nil {
		return err
	}
	out := []string{"out", "-listen", hop, "-target", h.server}
	in := []string{"in", "-listen", t.addr, "-next", hop}
	if tls {
		out = append(out, "-cert", h.cert, "-key", h.key)
		in = append(in, "-dial-ca", h.cert)
	}
	if err := h.start(t, "relay", out...); err != nil {
		return err
	}
	return h.start(t, "relay", in...)
}

// startTraversal starts a server and a node: the node dials, and the clients are on the
// side of the server.
func startTraversal(h *host, t *tunnel, tls bool) error {
	public, err := freeAddr()
	if err != nil {
		return err
	}
	server := []string{"server", "-listen", public, "-token-file", h.token, "-map", t.addr + "=node/web"}
	node := []string{"node", "-connect", public, "-token-file", h.token, "-name", "node", "-service", "web=" + h.server}
	if tls {
		server = append(server, "-cert", h.cert, "-key", h.key)
		node = append(node, "-ca", h.cert)
	}
	if err := h.start(t, "traversal", server...); err != nil {
		return err
	}
	return h.start(t, "traversal", node...)
}

// startChisel starts a chisel server and a client with a reverse tunnel: the client dials, and
// the HTTP clients are on the side of the server. chisel encrypts with SSH always.
func startChisel(h *host, t *tunnel, tls bool) error {
	public, err := freeAddr()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(public, ":")
	server := []string{"server", "--host", host, "--port", port, "--reverse"}
	client := []string{"client"}
	scheme := "http://"
	if tls {
		server = append(server, "--tls-cert", h.cert, "--tls-key", h.key)
		client = append(client, "--tls-ca", h.cert)
		scheme = "https://"
	}
	if err := h.start(t, "chisel", server...); err != nil {
		return err
	}
	return h.start(t, "chisel", append(client, scheme+public, "R:"+t.addr+":"+h.server)...)
}

// startFRP starts frps and frpc: frpc dials, and the clients are on the side of frps. Both
// log less than they do by default, where they write a line for each connection.
func startFRP(h *host, t *tunnel, tls bool) error {
	public, err := freeAddr()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(public, ":")
	_, remotePort, _ := strings.Cut(t.addr, ":")
	serverHost, serverPort, _ := strings.Cut(h.server, ":")
	server := fmt.Sprintf("bindAddr = %q\nproxyBindAddr = %q\nbindPort = %s\nlog.level = \"warn\"\nauth.token = \"the token of all\"\n", host, host, port)
	client := fmt.Sprintf("serverAddr = %q\nserverPort = %s\nloginFailExit = false\nlog.level = \"warn\"\nauth.token = \"the token of all\"\ntransport.tls.enable = %t\n"+
		"[[proxies]]\nname = \"web\"\ntype = \"tcp\"\nlocalIP = %q\nlocalPort = %s\nremotePort = %s\n",
		host, port, tls, serverHost, serverPort, remotePort)
	if tls {
		server += fmt.Sprintf("transport.tls.force = true\ntransport.tls.certFile = %q\ntransport.tls.keyFile = %q\n", h.cert, h.key)
	}
	serverFile, err := h.file(t.name+".frps.toml", server)
	if err != nil {
		return err
	}
	clientFile, err := h.file(t.name+".frpc.toml", client)
	if err != nil {
		return err
	}
	if err := h.start(t, "frps", "-c", serverFile); err != nil {
		return err
	}
	return h.start(t, "frpc", "-c", clientFile)
}

// file writes a file into the host's directory and returns its path.
func (h *host) file(name, text string) (string, error) {
	name = filepath.Join(h.dir, strings.ReplaceAll(name, " ", "-"))
	return name, os.WriteFile(name, []byte(text), 0o600)
}

// startAll starts the direct way and the tunnels whose names match, and waits until each
// carries a request.
func (h *host) startAll(only *regexp.Regexp) ([]*tunnel, error) {
	var running []*tunnel
	for _, s := range systems() {
		if s.name != direct && !only.MatchString(s.name) {
			continue
		}
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		t := &tunnel{system: s, addr: addr}
		if err := s.start(h, t, s.tls); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := h.await(t); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		running = append(running, t)
	}
	return running, nil
}

// await waits until a tunnel carries a request.
func (h *host) await(t *tunnel) error {
	client, closeIdle := newClient(1, false)
	defer closeIdle()
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := small(h.ctx, client, t.addr)
		if err == nil || h.ctx.Err() != nil {
			return h.ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no request came through in %v: %w", patience, err)
		}
	}
}
