package api

import (
	"context"
	"iter"
	"net"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/typed"
)

// The signatures of packages typed and geminiotest on which programs rely.
var (
	_ func(testing.TB, ...*geminiotest.PairOptions) (geminio.End, geminio.End) = geminiotest.Pair
	_ func(testing.TB) *geminiotest.Network                                    = geminiotest.NewNetwork
	_ client.Dialer                                                            = (*geminiotest.Network)(nil).Dial
	_ func(context.Context) (net.Conn, error)                                  = (*geminiotest.Network)(nil).DialContext
	_ func() net.Listener                                                      = (*geminiotest.Network)(nil).Listen

	_ func(context.Context, geminio.RPCer, int, ...*options.CallOptions) (string, error)                            = typed.Method[int, string]{}.Call
	_ func(context.Context, geminio.RPCer, func(context.Context, int) (string, error)) error                        = typed.Method[int, string]{}.Register
	_ func(func(context.Context, int) (string, error)) *geminio.MethodRPC                                           = typed.Method[int, string]{}.Handler
	_ func(context.Context, geminio.Messager, int, ...*options.PublishOptions) error                                = typed.Topic[int]{}.Publish
	_ func(*typed.Dispatcher, func(context.Context, int) error, ...*typed.SubscribeOptions[int])                    = typed.Topic[int]{}.Subscribe
	_ func(context.Context, geminio.Multiplexer, int, ...*options.CallOptions) iter.Seq2[string, error]             = typed.ServerStreaming[int, string]{}.Call
	_ func(context.Context, geminio.Multiplexer, iter.Seq2[int, error], ...*options.CallOptions) (string, error)    = typed.ClientStreaming[int, string]{}.Call
	_ func(context.Context, geminio.Multiplexer, ...*options.CallOptions) (*typed.Conversation[int, string], error) = typed.Bidirectional[int, string]{}.Call
	_ func(*typed.Server, func(context.Context, int, *typed.Sender[string]) error)                                  = typed.ServerStreaming[int, string]{}.Register
	_ func(*typed.Server, func(context.Context, iter.Seq2[int, error]) (string, error))                             = typed.ClientStreaming[int, string]{}.Register
	_ func(*typed.Server, func(context.Context, *typed.Conversation[string, int]) error)                            = typed.Bidirectional[int, string]{}.Register
)
