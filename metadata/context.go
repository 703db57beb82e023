package metadata

import (
	"context"
	"strings"

	"github.com/singchia/geminio/internal/pairs"
)

// NewOutgoingContext returns a context whose operations send md: calls, publications, and the
// opening of streams. It replaces the metadata that operations with ctx would send. md is copied
// and may be changed afterwards. If md is not valid (see [MD.Validate]), the operations return
// the error.
func NewOutgoingContext(ctx context.Context, md MD) context.Context {
	o := &pairs.Outgoing{Err: md.Validate()}
	if o.Err == nil {
		o.List = pairs.Encode(md)
		o.N = o.List.Len()
	}
	return context.WithValue(ctx, pairs.OutgoingKey{}, o)
}

// AppendToOutgoingContext returns a context whose operations send the pairs kv, a key and a value
// in turn, besides the metadata that operations with ctx send. It is faster than
// NewOutgoingContext with a changed MD. AppendToOutgoingContext panics if kv has an odd length. If
// a pair is not valid, the operations return the error.
func AppendToOutgoingContext(ctx context.Context, kv ...string) context.Context {
	checkPairs("AppendToOutgoingContext", kv)
	var o pairs.Outgoing
	if old, _ := ctx.Value(pairs.OutgoingKey{}).(*pairs.Outgoing); old != nil {
		o = *old
	}
	if o.Err == nil {
		o = extend(o, kv)
	}
	return context.WithValue(ctx, pairs.OutgoingKey{}, &o)
}

// extend returns o with the pairs kv behind its own.
func extend(o pairs.Outgoing, kv []string) pairs.Outgoing {
	size := len(o.List)
	for i := 0; i < len(kv); i += 2 {
		size += pairs.Overhead + len(kv[i]) + len(kv[i+1])
	}
	l := append(make(pairs.List, 0, size), o.List...)
	for i := 0; i < len(kv); i += 2 {
		key := strings.ToLower(kv[i])
		if err := validate(key, kv[i+1]); err != nil {
			return pairs.Outgoing{Err: err}
		}
		l = l.Append(key, kv[i+1])
	}
	n := o.N + len(kv)/2
	return pairs.Outgoing{List: l, N: n, Err: pairs.CheckCount(n)}
}

// FromOutgoingContext returns a copy of the metadata that operations with ctx send. It reports
// false if they send none, or if it is not valid.
func FromOutgoingContext(ctx context.Context) (MD, bool) {
	l, err := pairs.FromContext(ctx)
	return l.Decode(), err == nil && len(l) > 0
}

// FromIncomingContext returns a copy of the metadata of the request that a handler serves. ctx is
// the handler's context, or one that is derived from it. FromIncomingContext reports false if
// the request has no metadata.
func FromIncomingContext(ctx context.Context) (MD, bool) {
	l := incoming(ctx)
	return l.Decode(), len(l) > 0
}

// ValueFromIncomingContext returns the values of a key in the metadata of the request that a
// handler serves, or nil. It does not decode the other keys.
func ValueFromIncomingContext(ctx context.Context, key string) (values []string) {
	key = strings.ToLower(key)
	for k, v := range incoming(ctx).All() {
		if string(k) == key {
			values = append(values, string(v))
		}
	}
	return values
}

// incoming returns the metadata of the request that a handler serves.
func incoming(ctx context.Context) pairs.List {
	if l, _ := ctx.Value(pairs.IncomingKey{}).(*pairs.List); l != nil {
		return *l
	}
	return nil
}

// NewIncomingContext returns a context in which FromIncomingContext finds a copy of md. It is for
// tests that call a handler directly. Keys and values that are not valid are left out.
func NewIncomingContext(ctx context.Context, md MD) context.Context {
	var l pairs.List
	for key, values := range md {
		for _, value := range values {
			if validate(key, value) == nil {
				l = l.Append(key, value)
			}
		}
	}
	return context.WithValue(ctx, pairs.IncomingKey{}, &l)
}

// SetOutgoing sets the metadata of a handler's answer, which the caller gets with
// From(response), also if the handler sets an error. ctx is the handler's context, or one that is
// derived from it. The values of md replace those that earlier calls have set for the same keys;
// other keys stay. md is copied. SetOutgoing has no effect after the handler has returned, and
// with another context. It is safe for concurrent use.
//
// If md is not valid (see [MD.Validate]) or exceeds the limit of the caller, the caller gets an
// error in place of the answer.
func SetOutgoing(ctx context.Context, md MD) {
	if a, _ := ctx.Value(pairs.AnswerKey{}).(*pairs.Answer); a != nil {
		a.Set(md, md.Validate())
	}
}
