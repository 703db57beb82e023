package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// host has the programs of a run, their processes and their files. It belongs to one
// goroutine.
type host struct {
	ctx              context.Context
	dir              string // with all files
	keep             bool   // do not remove dir
	log              io.Writer
	server           string // the address of the web server
	cert, key, token string // files
	processes        []*exec.Cmd
	logs             []*os.File
}

// tunnel is a system that runs.
type tunnel struct {
	system
	addr      string // where HTTP clients connect
	processes []int  // their numbers
}

// newHost builds the programs and starts the web server.
func newHost(ctx context.Context, log io.Writer, keep bool) (*host, error) {
	dir, err := os.MkdirTemp("", "geminio-tunnels-")
	if err != nil {
		return nil, err
	}
	h := &host{ctx: ctx, dir: dir, keep: keep, log: log}
	if err := h.prepare(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// prepare does what newHost says.
func (h *host) prepare() error {
	fmt.Fprintln(h.log, "building the programs")
	for _, b := range []struct{ dir, pkg string }{
		{"../../examples", "./relay"},
		{"../../examples", "./traversal"},
		{".", "github.com/jpillora/chisel"},
		{".", "github.com/fatedier/frp/cmd/frps"},
		{".", "github.com/fatedier/frp/cmd/frpc"},
	} {
		build := exec.CommandContext(h.ctx, "go", "build", "-o", h.dir+string(filepath.Separator), b.pkg)
		build.Dir = b.dir
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", b.pkg, err, text)
		}
	}
	if err := h.certificate(); err != nil {
		return err
	}
	var err error
	if h.token, err = h.file("token", "the token of all\n"); err != nil {
		return err
	}
	if h.server, err = freeAddr(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return h.start(&tunnel{system: system{name: direct}}, self, serveCommand, h.server)
}

// start starts a program of the tunnel. The process ends with the host at the latest.
func (h *host) start(t *tunnel, program string, args ...string) error {
	if !filepath.IsAbs(program) {
		program = filepath.Join(h.dir, program)
	}
	log, err := os.Create(filepath.Join(h.dir, fmt.Sprintf("%02d-%s.log", len(h.processes), filepath.Base(program))))
	if err != nil {
		return err
	}
	h.logs = append(h.logs, log)
	cmd := exec.CommandContext(h.ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = h.dir, log, log
	cmd.Env = append(os.Environ(), "HOME="+h.dir, "XDG_CONFIG_HOME="+h.dir)
	if _, err := cmd.StdinPipe(); err != nil { // the web server ends when this is closed
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.processes = append(h.processes, cmd)
	t.processes = append(t.processes, cmd.Process.Pid)
	return nil
}

// close ends the processes and removes the files.
func (h *host) close() {
	for _, cmd := range h.processes {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for _, log := range h.logs {
		log.Close()
	}
	if h.keep {
		fmt.Fprintln(h.log, "the output of the programs is in", h.dir)
		return
	}
	os.RemoveAll(h.dir)
}

// certificate writes a certificate that signs itself, for 127.0.0.1, and its key.
func (h *host) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tunnels"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if h.cert, err = h.file("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))); err != nil {
		return err
	}
	h.key, err = h.file("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der8})))
	return err
}

// freeAddr returns a loopback address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
