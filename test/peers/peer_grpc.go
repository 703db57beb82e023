package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func grpcPeer() *peer {
	return &peer{
		name: "grpc", role: other, module: "google.golang.org/grpc",
		setup: "grpc-go over TCP, windows of 16 MiB, buffers of 64 KiB, plain bytes in place of protobuf; unary calls for calls and messages, a stream of chunks for bulk",
		start: func(svc *service) (server, error) { return startGRPC(svc, joinGRPC) },
	}
}

func grpcStreamPeer() *peer {
	return &peer{
		name: grpcStreamName, role: other, module: "google.golang.org/grpc",
		setup: "the same; calls and messages on a bidirectional stream for each caller",
		start: func(svc *service) (server, error) { return startGRPC(svc, joinGRPCStream) },
	}
}

const (
	grpcWindow = 16 << 20 // of streams and connections
	grpcBuffer = 64 << 10 // of the socket
)

type grpcServer struct {
	listener net.Listener
	server   *grpc.Server
	service  *service
	join     func(*grpcServer, *grpc.ClientConn) link
	accepted chan io.ReadWriteCloser // streams of bytes
	serving  chan struct{}           // closed when Serve has returned
}

func startGRPC(svc *service, join func(*grpcServer, *grpc.ClientConn) link) (server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &grpcServer{
		listener: l, service: svc, join: join,
		accepted: make(chan io.ReadWriteCloser), serving: make(chan struct{}),
		server: grpc.NewServer(
			grpc.Creds(grpcCredentials(svc.security, true)),
			grpc.ForceServerCodecV2(bytesCodec{}),
			grpc.WriteBufferSize(grpcBuffer), grpc.ReadBufferSize(grpcBuffer),
			grpc.InitialWindowSize(grpcWindow), grpc.InitialConnWindowSize(grpcWindow),
		),
	}
	s.server.RegisterService(&grpcDesc, s)
	go func() {
		defer close(s.serving)
		s.server.Serve(l)
	}()
	return s, nil
}

// grpcCredentials returns the credentials of a side.
func grpcCredentials(t *security, server bool) credentials.TransportCredentials {
	switch {
	case t == nil:
		return insecure.NewCredentials()
	case server:
		c := t.server.Clone()
		c.NextProtos = []string{"h2"}
		return credentials.NewTLS(c)
	default:
		c := t.client.Clone()
		c.NextProtos = []string{"h2"}
		return credentials.NewTLS(c)
	}
}

func (s *grpcServer) close() error {
	s.server.Stop()
	<-s.serving
	return nil
}

func (s *grpcServer) dial() (link, error) {
	cc, err := grpc.NewClient("passthrough:///"+s.listener.Addr().String(),
		grpc.WithTransportCredentials(grpcCredentials(s.service.security, false)),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})),
		grpc.WithWriteBufferSize(grpcBuffer), grpc.WithReadBufferSize(grpcBuffer),
		grpc.WithInitialWindowSize(grpcWindow), grpc.WithInitialConnWindowSize(grpcWindow),
	)
	if err != nil {
		return nil, err
	}
	cc.Connect()
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
		if state == connectivity.TransientFailure || state == connectivity.Shutdown {
			cc.Close()
			return nil, fmt.Errorf("the connection is %s", state)
		}
		cc.WaitForStateChange(context.Background(), state)
	}
	return s.join(s, cc), nil
}

// The description of the service, as protoc would generate it.
const (
	grpcName     = "peers.Peers"
	grpcCall     = "/" + grpcName + "/Call"
	grpcPublish  = "/" + grpcName + "/Publish"
	grpcCalls    = "/" + grpcName + "/Calls"
	grpcMessages = "/" + grpcName + "/Messages"
	grpcBytes    = "/" + grpcName + "/Bytes"
)

var (
	grpcBidi = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

	grpcDesc = grpc.ServiceDesc{
		ServiceName: grpcName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Call", Handler: unary((*grpcServer).call)},
			{MethodName: "Publish", Handler: unary((*grpcServer).publish)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Calls", Handler: bidi((*grpcServer).calls), ServerStreams: true, ClientStreams: true},
			{StreamName: "Messages", Handler: bidi((*grpcServer).messages), ServerStreams: true, ClientStreams: true},
			{StreamName: "Bytes", Handler: bidi((*grpcServer).bytes), ServerStreams: true, ClientStreams: true},
		},
	}
)

func unary(handle func(*grpcServer, []byte) []byte) grpc.MethodHandler {
	return func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in blob
		if err := decode(&in); err != nil {
			return nil, err
		}
		return &blob{handle(srv.(*grpcServer), in.data)}, nil
	}
}

func bidi(handle func(*grpcServer, grpc.ServerStream) error) grpc.StreamHandler {
	return func(srv any, s grpc.ServerStream) error { return handle(srv.(*grpcServer), s) }
}

func (s *grpcServer) call(request []byte) []byte { return s.service.answer(request) }

func (s *grpcServer) publish(data []byte) []byte {
	s.service.message(data)
	return nil
}

func (s *grpcServer) calls(stream grpc.ServerStream) error { return serveGRPC(stream, s.call) }

func (s *grpcServer) messages(stream grpc.ServerStream) error { return serveGRPC(stream, s.publish) }

// serveGRPC answers each message of a stream.
func serveGRPC(stream grpc.ServerStream, handle func([]byte) []byte) error {
	for {
		var in blob
		if err := stream.RecvMsg(&in); err != nil {
			return nil
		}
		if err := stream.SendMsg(&blob{handle(in.data)}); err != nil {
			return err
		}
	}
}

// bytes passes the stream to accept and keeps it until it is closed.
func (s *grpcServer) bytes(stream grpc.ServerStream) error {
	b := &grpcAccepted{grpcReader: grpcReader{recv: stream.RecvMsg}, stream: stream, closed: make(chan struct{})}
	select {
	case s.accepted <- b:
	case <-stream.Context().Done():
		return nil
	}
	select {
	case <-b.closed:
	case <-stream.Context().Done():
	}
	return nil
}

// grpcLink is a link with unary calls and streams.
type grpcLink struct {
	*streamLink
	cc *grpc.ClientConn
}

func joinGRPC(s *grpcServer, cc *grpc.ClientConn) link {
	l := &grpcLink{cc: cc}
	ended := make(chan struct{})
	l.streamLink = newStreamLink(session{
		open: func() (io.ReadWriteCloser, error) {
			stream, err := cc.NewStream(context.Background(), &grpcBidi, grpcBytes)
			if err != nil {
				return nil, err
			}
			return &grpcOpened{grpcReader{recv: stream.RecvMsg}, stream}, nil
		},
		accept: func() (io.ReadWriteCloser, error) {
			select {
			case b := <-s.accepted:
				return b, nil
			case <-ended:
				return nil, net.ErrClosed
			}
		},
		end: func() error {
			close(ended)
			return cc.Close()
		},
		settle: toEOF,
	}, s.service)
	return l
}

func (l *grpcLink) invoke(method string) call {
	return func(request []byte) ([]byte, error) {
		var out blob
		err := l.cc.Invoke(context.Background(), method, &blob{request}, &out)
		return out.data, err
	}
}

func (l *grpcLink) caller() (call, error) { return l.invoke(grpcCall), nil }

func (l *grpcLink) publisher() (publish, error) { return acked(l.invoke(grpcPublish)), nil }

// acked makes a publish from a call whose answer is empty.
func acked(c call) publish {
	return func(data []byte) error {
		answer, err := c(data)
		if err == nil && len(answer) != 0 {
			err = errUnexpected
		}
		return err
	}
}

// grpcStreamLink is a link with calls and messages on streams of their own.
type grpcStreamLink struct{ cc *grpc.ClientConn }

func joinGRPCStream(_ *grpcServer, cc *grpc.ClientConn) link { return &grpcStreamLink{cc} }

func (l *grpcStreamLink) close() error { return l.cc.Close() }

func (l *grpcStreamLink) stream(method string) (call, error) {
	s, err := l.cc.NewStream(context.Background(), &grpcBidi, method)
	if err != nil {
		return nil, err
	}
	return func(request []byte) ([]byte, error) {
		if err := s.SendMsg(&blob{request}); err != nil {
			return nil, errors.Join(err, s.RecvMsg(&blob{})) // RecvMsg returns the reason
		}
		var out blob
		err := s.RecvMsg(&out)
		return out.data, err
	}, nil
}

func (l *grpcStreamLink) caller() (call, error) { return l.stream(grpcCalls) }

func (l *grpcStreamLink) publisher() (publish, error) {
	c, err := l.stream(grpcMessages)
	if err != nil {
		return nil, err
	}
	return acked(c), nil
}
