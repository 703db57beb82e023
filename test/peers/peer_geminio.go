package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	geminioserver "github.com/singchia/geminio/server"
)

func geminioPeer() *peer {
	return &peer{
		name: "geminio", role: ours,
		setup: "over TCP, default options; Call, Publish and OpenStream of the library, all callers on one stream",
		start: startGeminio, overTCP: true,
	}
}

type geminioServer struct {
	listener geminioserver.Listener
	service  *service
	way      *way
}

func startGeminio(svc *service) (server, error) {
	w, err := newWay(svc)
	if err != nil {
		return nil, err
	}
	var nl net.Listener = w
	if svc.security != nil {
		nl = tls.NewListener(nl, svc.security.server)
	}
	opt := geminioserver.NewEndOptions()
	if svc.budget > 0 {
		opt.SetMemoryBudget(svc.budget)
	}
	if answer := svc.answer; answer != nil {
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: method, RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(answer(req.Data()))
		}})
	}
	l, err := geminioserver.NewListener(nl, opt)
	if err != nil {
		return nil, errors.Join(err, nl.Close())
	}
	return &geminioServer{listener: l, service: svc, way: w}, nil
}

func (s *geminioServer) close() error {
	return s.listener.Close()
}

func (s *geminioServer) dial() (link, error) {
	opt := client.NewEndOptions()
	if budget := s.service.budget; budget > 0 {
		opt.SetMemoryBudget(budget)
	}
	nc, err := s.way.dial()
	if err != nil {
		return nil, err
	}
	if t := s.service.security; t != nil {
		nc = tls.Client(nc, t.client)
	}
	c, err := client.NewEndWithConn(nc, opt)
	if err != nil {
		return nil, err
	}
	e, err := s.listener.AcceptEnd()
	if err != nil {
		c.Close()
		return nil, err
	}
	l := &geminioLink{client: c}
	l.streamLink = newStreamLink(session{
		open:   func() (io.ReadWriteCloser, error) { return c.OpenStream() },
		accept: func() (io.ReadWriteCloser, error) { return e.AcceptStream() },
		end:    func() error { return errors.Join(c.Close(), e.Close()) },
	}, s.service)
	if message := s.service.message; message != nil {
		l.serving.Go(func() { receive(e, message) })
	}
	return l, nil
}

// method is the name of the method that answers requests.
const method = "answer"

// receive acknowledges all messages.
func receive(e geminio.End, message func([]byte)) {
	for {
		m, err := e.Receive(context.Background())
		if err != nil {
			return
		}
		message(m.Data())
		m.Done()
	}
}

// geminioLink is a link that uses the calls and messages of the library, and not those on
// streams.
type geminioLink struct {
	*streamLink
	client geminio.End
}

func (l *geminioLink) caller() (call, error) {
	return func(request []byte) ([]byte, error) {
		resp, err := l.client.Call(context.Background(), method, l.client.NewRequest(request))
		if err != nil {
			return nil, err
		}
		return resp.Data(), nil
	}, nil
}

func (l *geminioLink) publisher() (publish, error) {
	return func(data []byte) error {
		return l.client.Publish(context.Background(), l.client.NewMessage(data))
	}, nil
}
