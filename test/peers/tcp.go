package main

import "net"

// tcpServer makes links of loopback TCP connections, with TLS and over an emulated path if the
// service says so.
type tcpServer struct {
	listener net.Listener
	security *security
	way      *way
	join     func(client, server net.Conn) (link, error)
}

// startTCP listens on a loopback port; join makes a link of the two sides of a
// connection, and then owns them.
func startTCP(svc *service, join func(client, server net.Conn) (link, error)) (server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w, err := newWay(svc, l.Addr().String())
	if err != nil {
		l.Close()
		return nil, err
	}
	return &tcpServer{listener: l, security: svc.security, way: w, join: join}, nil
}

func (s *tcpServer) dial() (link, error) {
	c, err := net.Dial("tcp", s.way.address)
	if err != nil {
		return nil, err
	}
	accepted, err := s.listener.Accept()
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

func (s *tcpServer) close() error {
	s.way.close()
	return s.listener.Close()
}
