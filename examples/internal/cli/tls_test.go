package cli

import (
	"bytes"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tlsServer serves TLS with those flags, until the end of the test, and returns its address and
// fingerprint.
func tlsServer(t *testing.T, args ...string) (addr, fingerprint string) {
	t.Helper()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	conf := ServerTLSFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l, err := conf.Listen("127.0.0.1:0", &out)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	})
	return l.Addr().String(), strings.TrimSpace(strings.TrimPrefix(out.String(), "certificate "))
}

// hello reads what a server says to a client with those flags.
func hello(t *testing.T, addr string, args ...string) error {
	t.Helper()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	conf := ClientTLSFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	dial, err := conf.Dialer(t.Context(), addr)
	if err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err == nil && string(text) != "hello" {
		t.Fatalf("the server says %q", text)
	}
	return err
}

func TestSelfSigned(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // elsewhere than on Linux
	addr, fingerprint := tlsServer(t, "-tls")
	if _, again := tlsServer(t, "-tls"); again != fingerprint {
		t.Error("the second start has made another certificate")
	}
	if _, other := tlsServer(t, "-tls", "-tls-file", filepath.Join(t.TempDir(), "sub", "other.pem")); other == fingerprint {
		t.Error("-tls-file has the same certificate")
	}
	file, err := configFile("self-signed.pem")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	colons := strings.ToUpper(strings.TrimPrefix(fingerprint, fingerprintPrefix))
	for i := len(colons) - 2; i > 0; i -= 2 {
		colons = colons[:i] + ":" + colons[i:]
	}
	for _, pin := range []string{fingerprint, strings.TrimPrefix(fingerprint, fingerprintPrefix), colons, pinFirst} {
		if err := hello(t, addr, "-pin", pin); err != nil {
			t.Errorf("-pin %s: %v", pin, err)
		}
	}
	wrong := fingerprintPrefix + strings.Repeat("0", 64)
	if err := hello(t, addr, "-pin", wrong); !errors.As(err, new(*PinError)) {
		t.Errorf("-pin %s: %v", wrong, err)
	}
	if err := hello(t, addr, "-ca", file); err != nil {
		t.Errorf("-ca: %v", err)
	}
	if err := hello(t, addr, "-tls"); err == nil {
		t.Error("the system trusts it")
	}
}

// A client trusts the first certificate of a server, and no other one after that.
func TestPinFirst(t *testing.T) {
	pins := filepath.Join(t.TempDir(), "config", "pins")
	trust := []string{"-pin", "first", "-pins", pins}
	a, fingerprint := tlsServer(t, "-tls", "-tls-file", filepath.Join(t.TempDir(), "a.pem"))
	b, _ := tlsServer(t, "-tls", "-tls-file", filepath.Join(t.TempDir(), "b.pem"))
	for range 2 {
		for _, addr := range []string{a, b} {
			if err := hello(t, addr, trust...); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := os.ReadFile(pins)
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), a+" "+fingerprint+"\n") {
		t.Errorf("%v, %s", err, text)
	}

	// Another server replaces b.
	if err := os.WriteFile(pins, []byte(b+" "+fingerprint+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = hello(t, b, trust...)
	if changed := new(PinError); !errors.As(err, &changed) || changed.Addr != b || changed.Want[0] != fingerprint {
		t.Error(err)
	}
}

// Programs that start at the same time have the same certificate.
func TestSelfSignedTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "self-signed.pem")
	var starts sync.WaitGroup
	prints := make(chan string, 8)
	for range cap(prints) {
		starts.Go(func() {
			pair, err := selfSigned(file)
			if err != nil {
				t.Error(err)
				prints <- ""
				return
			}
			prints <- Fingerprint(pair.Certificate[0])
		})
	}
	starts.Wait()
	first := <-prints
	for range cap(prints) - 1 {
		if next := <-prints; next != first {
			t.Errorf("%s and %s", first, next)
		}
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Error(left, err)
	}
}

func TestTLSFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-cert and -key go together": {"-cert", "x"},
		"-client-ca goes with -cert": {"-client-ca", "x"},
		"-tls-file goes with -tls":   {"-tls-file", "x"},
		"-tls-file goes with -tls, ": {"-tls", "-cert", "x", "-key", "x", "-tls-file", "x"},
		"-cert and -key: open x":     {"-cert", "x", "-key", "x"},
		"-tls: tls: failed to find":  {"-tls", "-tls-file", "tls_test.go"},
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		conf := ServerTLSFlags(flags)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		if _, err := conf.Config(); !errors.As(err, new(*UsageError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("server %v: %v, and not %q", args, err, want)
		}
	}
	for want, args := range map[string][]string{
		"-ca and -insecure contradict": {"-ca", "x", "-insecure"},
		"-pin contradicts":             {"-pin", "first", "-insecure"},
		"-pin contradicts -ca":         {"-pin", "first", "-ca", "x"},
		"-pins goes with":              {"-pins", "x"},
		"neither \"first\" nor":        {"-pin", "sha256:0123"},
		"go with -tls":                 {"-server-name", "x"},
		"-cert and -key go together":   {"-tls", "-cert", "x"},
		"-ca: no certificates":         {"-ca", "tls_test.go"},
		"-cert and -key: open x":       {"-tls", "-cert", "x", "-key", "x"},
	} {
		if err := hello(t, "127.0.0.1:1", args...); !errors.As(err, new(*UsageError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("client %v: %v, and not %q", args, err, want)
		}
	}
}

// Without flags there is no TLS.
func TestNoTLS(t *testing.T) {
	var conf ServerTLS
	l, err := conf.Listen("127.0.0.1:0", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial, err := new(ClientTLS).Dialer(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*tls.Conn); ok {
		t.Error("there is TLS")
	}
}
