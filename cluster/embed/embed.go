package embed

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options are the options of [Start]. The zero value stands for one server that accepts no connections
// from other processes and stores its files in a temporary directory.
type Options struct {
	// Name is the name of the server, which is unique in a NATS cluster. The default is "embedded".
	Name string

	// Dir is the directory for the files of JetStream. By default the server uses a temporary
	// directory, which Close removes.
	Dir string

	// Listen is the address at which the server accepts connections of other processes, such as
	// "127.0.0.1:4222". The port -1 stands for a free port. By default it accepts none, and Connect
	// is the only way to it.
	Listen string

	// Cluster is the name of a NATS cluster of several servers, which need Listen. The default is no
	// cluster.
	Cluster string

	// ClusterListen is the address at which the server accepts the other servers of the Cluster.
	ClusterListen string

	// Routes are the addresses at which the servers of the Cluster accept each other. All servers
	// should have the same list, which may contain their own address. JetStream needs at least one.
	Routes []string

	// Username and Password protect Listen and ClusterListen. The default is no protection, so the
	// addresses must not be reachable by strangers then.
	Username, Password string

	// TLS, if it is set, has Listen accept only TLS, and ClusterTLS does that for ClusterListen. They
	// have the certificate of the server, and ClientCAs and ClientAuth if its clients need certificates.
	// A server also connects to the others with ClusterTLS, so it needs their RootCAs too. Connect does
	// not use TLS, since its connection stays in the process.
	TLS, ClusterTLS *tls.Config

	// Logger gets the warnings and errors of the server. The default is no log.
	Logger *slog.Logger
}

// reportOnce has a server report only the first of many attempts to connect to another one.
const reportOnce = math.MaxInt

// Server is a NATS server of this process. All methods are safe for concurrent use.
type Server struct {
	s    *server.Server
	opt  Options
	temp string // a directory to remove; "" if there is none
}

// Start starts a server, and returns when it accepts connections. JetStream of a NATS cluster may not be
// ready then: it needs the majority of the servers. The error is that of reading the files or of
// listening, or ctx's error.
func Start(ctx context.Context, opt Options) (*Server, error) {
	s := &Server{opt: opt}
	o := &server.Options{
		ServerName: cmp.Or(opt.Name, "embedded"), DontListen: opt.Listen == "", NoSigs: true,
		JetStream: true, StoreDir: opt.Dir, Username: opt.Username, Password: opt.Password,
		TLSConfig: opt.TLS, TLSVerify: opt.TLS != nil && opt.TLS.ClientAuth == tls.RequireAndVerifyClientCert,
		ConnectErrorReports: reportOnce, ReconnectErrorReports: reportOnce,
	}
	var err error
	if opt.Listen != "" {
		if o.Host, o.Port, err = split(opt.Listen); err != nil {
			return nil, err
		}
	}
	if opt.Cluster != "" {
		if opt.Listen == "" { // nats-server would wait for it
			return nil, errors.New("embed: a server of a cluster needs the option Listen")
		}
		o.Cluster = server.ClusterOpts{Name: opt.Cluster, Username: opt.Username, Password: opt.Password, TLSConfig: opt.ClusterTLS}
		if o.Cluster.Host, o.Cluster.Port, err = split(opt.ClusterListen); err != nil {
			return nil, err
		}
		for _, r := range opt.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r, User: s.user()})
		}
	}
	if opt.Dir == "" {
		if s.temp, err = os.MkdirTemp("", "geminio-nats-"); err != nil {
			return nil, err
		}
		o.StoreDir = s.temp
	}
	if s.s, err = server.NewServer(o); err != nil {
		s.removeTemp()
		return nil, err
	}
	l := &logger{log: cmp.Or(opt.Logger, slog.New(slog.DiscardHandler)), attempts: make(map[string]time.Time)}
	s.s.SetLoggerV2(l, false, false, false)
	s.s.Start()
	for !s.s.ReadyForConnections(50 * time.Millisecond) {
		if err := cmp.Or(l.fatal(), ctx.Err()); err != nil {
			s.Close()
			return nil, fmt.Errorf("embed: %w", err)
		}
	}
	return s, nil
}

// split returns the parts of an address.
func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("embed: %w", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0, fmt.Errorf("embed: address %s: %w", address, err)
	}
	return host, port, nil
}

// user returns the credentials for a URL, or nil.
func (s *Server) user() *url.Userinfo {
	if s.opt.Username == "" {
		return nil
	}
	return url.UserPassword(s.opt.Username, s.opt.Password)
}

// Connect connects to the server within the process. It reconnects without a limit, unless opts say
// otherwise.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	all := []nats.Option{nats.InProcessServer(s.s), nats.MaxReconnects(-1), nats.UserInfo(s.opt.Username, s.opt.Password)}
	return nats.Connect("", append(all, opts...)...)
}

// URL returns the address for connections of other processes, with the credentials. It is empty without
// Listen.
func (s *Server) URL() string {
	addr := s.Addr()
	if addr == "" {
		return ""
	}
	scheme := "nats"
	if s.opt.TLS != nil {
		scheme = "tls"
	}
	return (&url.URL{Scheme: scheme, Host: addr, User: s.user()}).String()
}

// Addr returns the address for connections of other processes. It is empty without Listen.
func (s *Server) Addr() string {
	if addr := s.s.Addr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Close shuts the server down and waits until it has ended. Its connections are interrupted.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
	s.removeTemp()
}

// removeTemp removes the temporary directory.
func (s *Server) removeTemp() {
	if s.temp != "" {
		os.RemoveAll(s.temp)
	}
}
