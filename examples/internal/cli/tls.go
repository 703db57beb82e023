package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"net"
	"os"
)

// TLS is a matter of the connection: geminio takes any net.Listener and any
// net.Conn.

// ServerTLS has the flags of a listening side: -cert and -key, and -client-ca,
// with which clients need a certificate too.
type ServerTLS struct {
	cert, key, clientCA string
}

// ServerTLSFlags adds the flags.
func ServerTLSFlags(flags *flag.FlagSet) *ServerTLS {
	t := &ServerTLS{}
	flags.StringVar(&t.cert, "cert", "", "serve TLS with the certificate in the PEM `FILE`")
	flags.StringVar(&t.key, "key", "", "the PEM `FILE` with the key of -cert")
	flags.StringVar(&t.clientCA, "client-ca", "", "ask clients for a certificate that those in the PEM `FILE` have signed")
	return t
}

// Config returns the configuration, nil without -cert. Its error is a
// *UsageError.
func (t *ServerTLS) Config() (*tls.Config, error) {
	switch {
	case (t.cert == "") != (t.key == ""):
		return nil, Usagef("-cert and -key go together")
	case t.cert == "" && t.clientCA != "":
		return nil, Usagef("-client-ca goes with -cert")
	case t.cert == "":
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, Usagef("-cert and -key: %v", err)
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

// Listen listens on a TCP address, with TLS if there is a certificate.
func (t *ServerTLS) Listen(addr string) (net.Listener, error) {
	conf, err := t.Config()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil || conf == nil {
		return l, err
	}
	return tls.NewListener(l, conf), nil
}

// ClientTLS has the flags of a dialing side: -tls, -ca, -insecure, -server-name,
// -cert and -key.
type ClientTLS struct {
	on, insecure        bool
	ca, name, cert, key string
}

// ClientTLSFlags adds the flags.
func ClientTLSFlags(flags *flag.FlagSet) *ClientTLS {
	t := &ClientTLS{}
	flags.BoolVar(&t.on, "tls", false, "use TLS and trust the certificates of the system")
	flags.StringVar(&t.ca, "ca", "", "use TLS and trust the certificates in the PEM `FILE`")
	flags.BoolVar(&t.insecure, "insecure", false, "use TLS and trust any certificate")
	flags.StringVar(&t.name, "server-name", "", "with TLS, the `NAME` that the server's certificate must have; else the host that is dialled")
	flags.StringVar(&t.cert, "cert", "", "with TLS, show the server the certificate in the PEM `FILE`")
	flags.StringVar(&t.key, "key", "", "the PEM `FILE` with the key of -cert")
	return t
}

// Config returns the configuration, nil if TLS is not to be used. Its error is a
// *UsageError.
func (t *ClientTLS) Config() (*tls.Config, error) {
	switch {
	case t.insecure && t.ca != "":
		return nil, Usagef("-ca and -insecure contradict each other")
	case (t.cert == "") != (t.key == ""):
		return nil, Usagef("-cert and -key go together")
	case !t.on && !t.insecure && t.ca == "" && (t.name != "" || t.cert != ""):
		return nil, Usagef("-server-name, -cert and -key go with -tls, -ca or -insecure")
	case !t.on && !t.insecure && t.ca == "":
		return nil, nil
	}
	conf := &tls.Config{InsecureSkipVerify: t.insecure, ServerName: t.name, MinVersion: tls.VersionTLS13}
	var err error
	if t.ca != "" {
		if conf.RootCAs, err = pool("-ca", t.ca); err != nil {
			return nil, err
		}
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

// Dialer returns what dials a TCP address, with TLS if the flags say so: a
// client.Dialer of geminio. A dial ends with ctx.
func (t *ClientTLS) Dialer(ctx context.Context, addr string) (func() (net.Conn, error), error) {
	conf, err := t.Config()
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }, nil
	}
	d := &tls.Dialer{Config: conf}
	return func() (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }, nil
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
