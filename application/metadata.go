package application

// This file checks the metadata that operations send and that packets of the peer bring.

import (
	"context"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/packet"
)

// outgoing returns the metadata that an operation with ctx sends. It returns an error if the
// operation must fail.
func (e *End) outgoing(ctx context.Context) (pairs.List, error) {
	return e.permitted(pairs.FromContext(ctx))
}

// permitted returns metadata if the peer takes it, and nil if the peer takes no metadata at all.
// It returns an error if the metadata is too large for the peer, or if err is not nil.
func (e *End) permitted(l pairs.List, err error) (pairs.List, error) {
	if err != nil || len(l) == 0 {
		return nil, err
	}
	limit := e.mux.MaxMetadata()
	if limit == 0 {
		return nil, nil
	}
	return l, l.CheckSize(uint64(limit))
}

// checkIncoming returns an error for received metadata that costs its operation.
func (e *End) checkIncoming(what string, l pairs.List) error {
	if len(l) == 0 {
		return nil
	}
	if err := packet.CheckMetadata(what, l, e.c.Local().MaxMetadata); err != nil {
		return fmt.Errorf("%w: %w", geminio.ErrProtocol, err)
	}
	return nil
}

// refuseCall returns a handler for a request that breaks a rule of the wire.
func refuseCall(err error) geminio.RPC {
	return func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetError(&geminio.RemoteError{Code: geminio.CodeProtocol, Text: err.Error()})
	}
}
