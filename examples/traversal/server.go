package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
)

// serverSide is the side that nodes and clients dial.
type serverSide struct {
	*common
	listen string
	maps   []mapping
	file   string // the file of -maps
	wait   time.Duration
	tls    *cli.ServerTLS
	tokens *cli.ServerTokens

	nodes   tunnel.Pool // the Ends of the nodes, by name
	carrier *tunnel.Carrier
}

// mapping is a flag -map or a line of -maps.
type mapping struct{ addr, node, service string }

func newServer() *serverSide {
	s := &serverSide{common: newCommon("server")}
	s.Flags.StringVar(&s.listen, "listen", "", "accept nodes at `ADDR`")
	s.Flags.Func("map", "carry TCP connections that come to ADDR to a node's service: `ADDR=NODE/SERVICE`; may be repeated", s.addMap)
	s.Flags.StringVar(&s.file, "maps", "", "read more maps from the TOML `FILE`, which has lines like \":9022\" = \"home/ssh\"")
	s.Flags.DurationVar(&s.wait, "wait", 10*time.Second, "let a connection wait for its node for `TIME`")
	s.tls = cli.ServerTLSFlags(s.Flags)
	s.tokens = cli.ServerTokenFlags(s.Flags, tokenVariable)
	return s
}

func (s *serverSide) addMap(text string) error {
	addr, goal, ok := strings.Cut(text, "=")
	if !ok {
		return errNoMap
	}
	return s.add(addr, goal)
}

var errNoMap = errors.New("a map is ADDR=NODE/SERVICE")

// add adds a map to a goal, which is NODE/SERVICE.
func (s *serverSide) add(addr, goal string) error {
	node, service, ok := strings.Cut(goal, "/")
	if !ok || addr == "" || !validName.MatchString(node) || !validName.MatchString(service) {
		return errNoMap
	}
	s.maps = append(s.maps, mapping{addr, node, service})
	return nil
}

// readMaps adds the maps in the file of -maps.
func (s *serverSide) readMaps() error {
	if s.file == "" {
		return nil
	}
	list, err := tunnel.ReadMaps(s.file)
	if err != nil {
		return cli.Usagef("-maps: %v", err)
	}
	for _, m := range list {
		if err := s.add(m.Addr, m.Goal); err != nil {
			return cli.Usagef("-maps: %s: %q = %q: %v", s.file, m.Addr, m.Goal, err)
		}
	}
	return nil
}

// run serves until ctx ends.
func (s *serverSide) run(ctx context.Context) error {
	tokens, err := s.tokens.Load()
	if err != nil {
		return err
	}
	if err := s.readMaps(); err != nil {
		return err
	}
	switch err := s.check(); {
	case err != nil:
		return err
	case !tokens.Wanted():
		return cli.Usagef("-token-file is missing, or -tokens")
	case s.listen == "":
		return cli.Usagef("-listen is missing")
	case len(s.maps) == 0:
		return cli.Usagef("-map is missing, or -maps")
	case s.wait <= 0:
		return cli.Usagef("-wait is not a positive time")
	}
	cli.WarnPlain(s.Log, s.listen, true, s.tls.Used())
	l, err := s.tls.Listen(s.listen, s.Stdout)
	if err != nil {
		return err
	}
	opt := server.NewEndOptions()
	opt.Limits = tunnel.Limits(s.heartbeat, s.keep, s.Log)
	opt.SetDelegate(&admission{tokens: tokens, log: s.Log})
	nodes, err := server.NewListener(l, opt)
	if err != nil {
		return err
	}
	defer nodes.Close()

	s.carrier = tunnel.NewCarrier(s.Log, s.wait)
	figures, stopFigures := context.WithCancel(context.Background())
	defer stopFigures()
	go s.Figures(figures, func() []any { return append(s.carrier.Figures(), "nodes", s.nodes.Len()) })
	var public []net.Listener
	closePublic := func() {
		for _, l := range public {
			l.Close()
		}
	}
	for _, m := range s.maps {
		l, err := net.Listen("tcp", m.addr)
		if err != nil {
			closePublic()
			return err
		}
		public = append(public, l)
	}
	fmt.Fprintf(s.Stdout, "accepting nodes at %s\n", nodes.Addr())
	failed := make(chan error, 1+len(public))
	var serving sync.WaitGroup
	serving.Go(func() { failed <- s.acceptNodes(nodes) })
	for i, l := range public {
		m := s.maps[i]
		fmt.Fprintf(s.Stdout, "%s is %s/%s\n", l.Addr(), m.node, m.service)
		serving.Go(func() { failed <- tunnel.Accept(l, func(c *net.TCPConn) { s.carry(c, m) }) })
	}

	select {
	case err = <-failed:
	case <-ctx.Done():
		fmt.Fprintln(s.Stdout, "stopping")
	}
	grace, cancel := context.WithTimeout(context.Background(), s.grace)
	defer cancel()
	closePublic()
	nodes.Close() // those that are connected stay
	serving.Wait()
	s.carrier.Stop(grace)
	tunnel.CloseEnds(nodes)
	return err
}

// acceptNodes accepts nodes until the listener is closed.
func (s *serverSide) acceptNodes(l server.Listener) error {
	for {
		end, err := l.AcceptEnd()
		if err != nil {
			return tunnel.UnlessClosed(err)
		}
		go s.admit(end)
	}
}

// admit lists a node for as long as its End exists.
func (s *serverSide) admit(end geminio.End) {
	g := greetingOf(metadata.From(end))
	s.nodes.Replace(g.node, end)
	fmt.Fprintf(s.Stdout, "%s is connected from %s, with %s\n", g.node, end.RemoteAddr(), strings.Join(g.services, ", "))
	tunnel.Streams(end, func(stream geminio.Stream) {
		geminio.Reset(stream, geminio.CodeApplication, "a node must not open streams")
	})
	s.nodes.Remove(g.node, end)
	fmt.Fprintf(s.Stdout, "%s is gone\n", g.node)
}

// carry connects a client's connection with its service.
func (s *serverSide) carry(c *net.TCPConn, m mapping) {
	origin := tunnel.OriginOf(c)
	s.carrier.Carry(tunnel.TCP(c), origin, m.node+"/"+m.service, func(ctx context.Context) (tunnel.Leg, error) {
		leg, err := s.nodes.Open(ctx, m.node, m.service, origin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.node, err)
		}
		return leg, nil
	}, "node", m.node, "service", m.service)
}
