package main

import (
	"errors"
	"io"
	"net"
)

func rawPeer() *peer {
	return &peer{
		name: rawName, role: reference,
		setup:   "one TCP connection, without frames; ping-pong for calls and messages, a copy for bulk",
		overTCP: true,
		start: func(svc *service) (server, error) {
			return startTCP(svc, func(c, s net.Conn) (link, error) { return &rawLink{client: c, server: s, service: svc}, nil })
		},
	}
}

// rawLink is one connection. It has one stream, or one caller, or one publisher.
type rawLink struct {
	client, server net.Conn
	service        *service
	taken          bool
}

// take returns an error if the connection is already in use.
func (l *rawLink) take() error {
	if l.taken {
		return errNotOffered
	}
	l.taken = true
	return nil
}

func (l *rawLink) close() error { return errors.Join(l.client.Close(), l.server.Close()) }

func (l *rawLink) open() (opener, accepted io.ReadWriteCloser, err error) {
	return l.client, l.server, l.take()
}

func (l *rawLink) caller() (call, error) {
	if err := l.take(); err != nil {
		return nil, err
	}
	go func() {
		p := make([]byte, callSize)
		for {
			if _, err := io.ReadFull(l.server, p); err != nil {
				return
			}
			if _, err := l.server.Write(l.service.answer(p)); err != nil {
				return
			}
		}
	}()
	p := make([]byte, callSize)
	return func(request []byte) ([]byte, error) {
		if _, err := l.client.Write(request); err != nil {
			return nil, err
		}
		_, err := io.ReadFull(l.client, p)
		return p, err
	}, nil
}

func (l *rawLink) publisher() (publish, error) {
	if err := l.take(); err != nil {
		return nil, err
	}
	go func() {
		p, ack := make([]byte, messageSize), []byte{ackByte}
		for {
			if _, err := io.ReadFull(l.server, p); err != nil {
				return
			}
			l.service.message(p)
			if _, err := l.server.Write(ack); err != nil {
				return
			}
		}
	}()
	ack := make([]byte, 1)
	return func(data []byte) error {
		if _, err := l.client.Write(data); err != nil {
			return err
		}
		_, err := io.ReadFull(l.client, ack)
		return err
	}, nil
}
