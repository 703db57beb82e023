package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/singchia/geminio/client"
)

// TLS is below geminio, which takes any net.Listener and any net.Conn.

// ServerTLS has the flags of a listening side: -tls, for TLS with a self-signed
// certificate, or -cert and -key; and -client-ca, which requires certificates of clients.
type ServerTLS struct {
	on                        bool
	file, cert, key, clientCA string
}

// ServerTLSFlags adds the flags.
func ServerTLSFlags(flags *flag.FlagSet) *ServerTLS {
	t := &ServerTLS{}
	flags.BoolVar(&t.on, "tls", false, "serve TLS, if there is no -cert with a certificate that is made at the first start; clients know it by the fingerprint that is printed (their -pin)")
	flags.StringVar(&t.file, "tls-file", "", "with -tls, keep that certificate and its key in `FILE`; otherwise self-signed.pem in the user's configuration")
	flags.StringVar(&t.cert, "cert", "", "serve TLS with the certificate in the PEM `FILE`")
	flags.StringVar(&t.key, "key", "", "the PEM `FILE` with the key of -cert")
	flags.StringVar(&t.clientCA, "client-ca", "", "ask clients for a certificate that those in the PEM `FILE` have signed")
	return t
}

// Used tells whether the flags ask for TLS.
func (t *ServerTLS) Used() bool { return t.on || t.cert != "" }

// Config returns the configuration, nil without -tls and -cert. Its error is a *UsageError.
func (t *ServerTLS) Config() (*tls.Config, error) {
	switch {
	case (t.cert == "") != (t.key == ""):
		return nil, Usagef("-cert and -key go together")
	case !t.Used() && t.clientCA != "":
		return nil, Usagef("-client-ca goes with -cert or -tls")
	case t.file != "" && (!t.on || t.cert != ""):
		return nil, Usagef("-tls-file goes with -tls, and not with -cert")
	case !t.Used():
		return nil, nil
	}
	pair, err := t.certificate()
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	if t.clientCA != "" {
		if conf.ClientCAs, err = pool("-client-ca", t.clientCA); err != nil {
			return nil, err
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return conf, nil
}

// certificate returns the certificate of the server.
func (t *ServerTLS) certificate() (tls.Certificate, error) {
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return pair, Usagef("-cert and -key: %v", err)
		}
		return pair, nil
	}
	file := t.file
	if file == "" {
		var err error
		if file, err = configFile("self-signed.pem"); err != nil {
			return tls.Certificate{}, Usagef("-tls needs -tls-file: %v", err)
		}
	}
	pair, err := selfSigned(file)
	if err != nil {
		return pair, Usagef("-tls: %v", err)
	}
	return pair, nil
}

// Listen listens on a TCP address, with TLS if there is a certificate. It prints the
// fingerprint of the certificate.
func (t *ServerTLS) Listen(addr string, out io.Writer) (net.Listener, error) {
	conf, err := t.Config()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil || conf == nil {
		return l, err
	}
	fmt.Fprintf(out, "certificate %s\n", Fingerprint(conf.Certificates[0].Certificate[0]))
	return tls.NewListener(l, conf), nil
}

// ClientTLS has the flags of a dialing side: -tls, -ca, -pin, -pins, -insecure, -server-name,
// -cert and -key.
type ClientTLS struct {
	on, insecure                   bool
	ca, pin, pins, name, cert, key string
}

// ClientTLSFlags adds the flags.
func ClientTLSFlags(flags *flag.FlagSet) *ClientTLS {
	t := &ClientTLS{}
	flags.BoolVar(&t.on, "tls", false, "use TLS and trust the certificates of the system")
	flags.StringVar(&t.ca, "ca", "", "use TLS and trust the certificates in the PEM `FILE`")
	flags.StringVar(&t.pin, "pin", "", "use TLS and trust the certificate with that `FINGERPRINT`, which the server prints; first: the one that the server shows the first time, and no other one afterwards")
	flags.StringVar(&t.pins, "pins", "", "with -pin first, remember certificates in `FILE`; otherwise pins in the user's configuration")
	flags.BoolVar(&t.insecure, "insecure", false, "use TLS and trust any certificate")
	flags.StringVar(&t.name, "server-name", "", "with TLS, the `NAME` that the server's certificate must have; else the host that is dialled")
	flags.StringVar(&t.cert, "cert", "", "with TLS, show the server the certificate in the PEM `FILE`")
	flags.StringVar(&t.key, "key", "", "the PEM `FILE` with the key of -cert")
	return t
}

// Used tells whether the flags ask for TLS.
func (t *ClientTLS) Used() bool { return t.on || t.insecure || t.ca != "" || t.pin != "" }

// Config returns the configuration for the server at an address, and nil without TLS. Its error
// is a *UsageError.
func (t *ClientTLS) Config(addr string) (*tls.Config, error) {
	switch {
	case t.insecure && t.ca != "":
		return nil, Usagef("-ca and -insecure contradict each other")
	case t.pin != "" && (t.insecure || t.ca != "" || t.name != ""):
		return nil, Usagef("-pin contradicts -ca, -insecure and -server-name")
	case t.pins != "" && t.pin != pinFirst:
		return nil, Usagef("-pins goes with -pin first")
	case (t.cert == "") != (t.key == ""):
		return nil, Usagef("-cert and -key go together")
	case !t.Used() && (t.name != "" || t.cert != ""):
		return nil, Usagef("-server-name, -cert and -key go with -tls, -ca, -pin or -insecure")
	case !t.Used():
		return nil, nil
	}
	conf := &tls.Config{InsecureSkipVerify: t.insecure, ServerName: t.name, MinVersion: tls.VersionTLS13}
	var err error
	if t.ca != "" {
		if conf.RootCAs, err = pool("-ca", t.ca); err != nil {
			return nil, err
		}
	}
	if t.pin != "" {
		pin, err := newPin(t.pin, t.pins)
		if err != nil {
			return nil, err
		}
		conf.InsecureSkipVerify = true // VerifyConnection verifies instead
		conf.VerifyConnection = func(state tls.ConnectionState) error { return pin.verify(addr, state) }
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, Usagef("-cert and -key: %v", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Dialer returns a client.Dialer that dials a TCP address, with TLS if the flags ask for it. A
// dial ends with ctx.
func (t *ClientTLS) Dialer(ctx context.Context, addr string) (func() (net.Conn, error), error) {
	conf, err := t.Config(addr)
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }, nil
	}
	d := &tls.Dialer{Config: conf}
	return func() (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }, nil
}

// DialAny returns a dialer for one of several TCP addresses, which commas separate. It reads the
// certificates for each dial, since they may be renewed.
func (t *ClientTLS) DialAny(addresses string) client.ContextDialer {
	list := client.Addresses(strings.Split(addresses, ",")...)
	return client.DialAny(list, func(ctx context.Context, address string) (net.Conn, error) {
		dial, err := t.Dialer(ctx, address)
		if err != nil {
			return nil, err
		}
		return dial()
	})
}

func pool(flag, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, Usagef("%s: %v", flag, err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, Usagef("%s: no certificates in %s", flag, file)
	}
	return p, nil
}
