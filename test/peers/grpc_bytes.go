package main

import (
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// blob is a gRPC message of plain bytes. It is copied once, when it is received.
type blob struct{ data []byte }

// chunk is a blob for receivers of bulk data: gRPC's own buffers, which the receiver must
// free.
type chunk struct{ buffers mem.BufferSlice }

// bytesCodec passes bytes on unchanged.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*blob)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b.data)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *blob:
		v.data = data.Materialize()
	case *chunk:
		data.Ref()
		v.buffers = data
	default:
		return fmt.Errorf("cannot receive a %T", v)
	}
	return nil
}

// grpcReader makes an io.Reader of received chunks.
type grpcReader struct {
	recv func(any) error
	now  *mem.Reader
}

func (r *grpcReader) Read(p []byte) (int, error) {
	for r.now == nil || r.now.Remaining() == 0 {
		var c chunk
		if err := r.recv(&c); err != nil {
			return 0, err
		}
		if r.now == nil {
			r.now = c.buffers.Reader()
		} else {
			r.now.Reset(c.buffers)
		}
		c.buffers.Free() // the Reader has its own reference
	}
	n, err := r.now.Read(p)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// grpcOpened is a stream of bytes at its opener.
type grpcOpened struct {
	grpcReader
	stream grpc.ClientStream
}

func (s *grpcOpened) Write(p []byte) (int, error) {
	if err := s.stream.SendMsg(&blob{p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *grpcOpened) Close() error { return s.stream.CloseSend() }

// grpcAccepted is a stream of bytes at the server.
type grpcAccepted struct {
	grpcReader
	stream grpc.ServerStream
	once   sync.Once
	closed chan struct{} // ends the handler
}

func (s *grpcAccepted) Write(p []byte) (int, error) {
	if err := s.stream.SendMsg(&blob{p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *grpcAccepted) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
