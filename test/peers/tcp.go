package main

import "net"

// tcpServer makes links of TCP connections, with TLS and over a way.
type tcpServer struct {
	way      *way
	security *security
	join     func(client, server net.Conn) (link, error)
}

// startTCP listens; join makes a link of the two sides of a connection, and then owns them.
func startTCP(svc *service, join func(client, server net.Conn) (link, error)) (server, error) {
	w, err := newWay(svc)
	if err != nil {
		return nil, err
	}
	return &tcpServer{way: w, security: svc.security, join: join}, nil
}

func (s *tcpServer) dial() (link, error) {
	c, err := s.way.dial()
	if err != nil {
		return nil, err
	}
	accepted, err := s.way.Accept()
	if err != nil {
		c.Close()
		return nil, err
	}
	near, far, err := s.security.join(c, accepted)
	if err != nil {
		return nil, err
	}
	l, err := s.join(near, far)
	if err != nil {
		near.Close()
		far.Close()
		return nil, err
	}
	return l, nil
}

func (s *tcpServer) close() error { return s.way.Close() }
