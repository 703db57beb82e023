package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/nilarg"
)

// Resolver returns the addresses at which a server can be reached, such as those of a list or of
// a name service. It returns an error when the context ends.
type Resolver func(context.Context) ([]string, error)

// AddressDialer connects to an address. It returns an error when the context ends.
type AddressDialer func(ctx context.Context, address string) (net.Conn, error)

// Addresses returns a Resolver for a fixed list.
func Addresses(addresses ...string) Resolver {
	addresses = slices.Clone(addresses)
	return func(context.Context) ([]string, error) { return addresses, nil }
}

// DialAny returns a ContextDialer that connects to one of several addresses. It calls resolve for
// each connection, and dial for one address after the other until a connection is made. If dial
// is nil, the connections are those of TCP. The order of the addresses is random, so that the
// load is spread, with two exceptions: the address of the last connection is the first, and it is
// the last if the handshake over that connection has failed. If the context has a deadline, each
// address has an equal part of the remaining time. If no address can be reached, the error has
// those of all addresses. If dial panics, the attempt ends, and that address is the last one next
// time.
//
// Each RetryEnd has its own last address, also if several share the ContextDialer. The last
// address of other Ends is that of the ContextDialer, which learns nothing of their handshakes.
func DialAny(resolve Resolver, dial AddressDialer) ContextDialer {
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	shared := new(lastAddress)
	return func(ctx context.Context) (net.Conn, error) {
		last, ok := ctx.Value(lastAddressKey{}).(*lastAddress)
		if !ok {
			last = shared
		}
		return dialAny(ctx, resolve, dial, last)
	}
}

// lastAddress is the address of the last connection. Its methods are safe for concurrent use.
type lastAddress struct {
	mu      sync.Mutex
	address string // "" if there was no connection
	failed  bool   // the handshake has failed
}

// lastAddressKey is the key of a context value of type *lastAddress.
type lastAddressKey struct{}

// set notes the address of a new connection, or one whose dial has failed in such a way that it is
// to be tried last.
func (l *lastAddress) set(address string, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address, l.failed = address, failed
}

// fail notes that the handshake over the last connection has failed.
func (l *lastAddress) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
}

// order returns the addresses in the order in which they are tried.
func (l *lastAddress) order(addresses []string) []string {
	order := slices.Clone(addresses)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(order, l.address)
	if l.address == "" || i < 0 {
		return order
	}
	order = slices.Delete(order, i, i+1)
	if l.failed {
		return append(order, l.address)
	}
	return slices.Insert(order, 0, l.address)
}

// dialAny connects to one of the addresses of resolve.
func dialAny(ctx context.Context, resolve Resolver, dial AddressDialer, last *lastAddress) (net.Conn, error) {
	if resolve == nil {
		return nil, nilarg.New("dial", "resolver")
	}
	addresses, err := resolve(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: the addresses of the server: %w", err)
	}
	if len(addresses) == 0 {
		return nil, errors.New("client: the resolver returned no addresses")
	}
	var failures []error
	trying := ""
	defer func() {
		if trying != "" { // dial has panicked or ended the goroutine
			last.set(trying, true)
		}
	}()
	for i, address := range last.order(addresses) {
		trying = address
		nc, err := dialOne(ctx, dial, address, len(addresses)-i)
		trying = ""
		if err == nil {
			last.set(address, false)
			return nc, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("client: no connection to the server: %w", errors.Join(failures...))
}

// dialOne connects to an address. It has its part of the time of ctx, of which left addresses
// have one each.
func dialOne(ctx context.Context, dial AddressDialer, address string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	nc, err := dial(ctx, address)
	if err == nil {
		err = conn.Check(nc)
	}
	return nc, err
}
