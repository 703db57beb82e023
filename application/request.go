package application

import (
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// request implements geminio.Request, at both sides.
type request struct {
	id, clientID, streamID uint64
	method                 string
	timeout                time.Duration
	data, custom           []byte
}

var _ geminio.Request = (*request)(nil)

func (r *request) ID() uint64                  { return r.id }
func (r *request) StreamID() uint64            { return r.streamID }
func (r *request) ClientID() uint64            { return r.clientID }
func (r *request) Method() string              { return r.method }
func (r *request) Timeout() time.Duration      { return r.timeout }
func (r *request) Data() []byte                { return r.data }
func (r *request) Custom() []byte              { return r.custom }
func (r *request) SetTimeout(d time.Duration)  { r.timeout = d }
func (r *request) SetCustom(custom []byte)     { r.custom = custom }
func (r *request) SetClientID(clientID uint64) { r.clientID = clientID }
func (r *request) SetStreamID(streamID uint64) { r.streamID = streamID }

// response implements geminio.Response, at both sides.
type response struct {
	id, clientID, streamID uint64
	method                 string
	data, custom           []byte
	metadata               pairs.List // of a response that has arrived
	err                    error

	v *serving // the request, at the handler; nil at the caller
}

var _ geminio.Response = (*response)(nil)

func (r *response) ID() uint64                  { return r.id }
func (r *response) StreamID() uint64            { return r.streamID }
func (r *response) ClientID() uint64            { return r.clientID }
func (r *response) Method() string              { return r.method }
func (r *response) Data() []byte                { return r.data }
func (r *response) Error() error                { return r.err }
func (r *response) Custom() []byte              { return r.custom }
func (r *response) SetData(data []byte)         { r.data = data }
func (r *response) SetError(err error)          { r.err = err }
func (r *response) SetCustom(custom []byte)     { r.custom = custom }
func (r *response) SetClientID(clientID uint64) { r.clientID = clientID }
func (r *response) SetStreamID(streamID uint64) { r.streamID = streamID }
func (r *response) Metadata() metadata.MD       { return r.metadata.Decode() }

// NewRequest returns a request for this stream. The data is not copied: it must not change
// until the call has ended.
func (s *Stream) NewRequest(data []byte, opts ...*options.NewRequestOptions) geminio.Request {
	return NewRequest(s.end.cfg.IDs.NewPacketID(), s.ClientID(), s.StreamID(), data, opts)
}

// NewRequest returns a request with the given ids.
func NewRequest(id, clientID, streamID uint64, data []byte, opts []*options.NewRequestOptions) geminio.Request {
	r := &request{id: id, clientID: clientID, streamID: streamID, data: data}
	if len(opts) > 0 {
		r.custom = options.MergeNewRequestOptions(opts...).Custom
	}
	return r
}
