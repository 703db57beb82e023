package main

// The common part of all clients: a retry End.

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

// retryMin and retryMax bound the pauses between attempts to reconnect.
const retryMin, retryMax = 50 * time.Millisecond, 2 * time.Second

const (
	program       = "mq"
	tokenVariable = "MQ_TOKEN" // the environment variable with the token, if the token is in no file
)

// end has the methods of a *client.RetryEnd that the clients use.
type end interface {
	geminio.End
	Done() <-chan struct{}
	Cause() error
}

// peer is a client of the broker.
type peer struct {
	*cli.Program
	connect   string
	heartbeat time.Duration
	wait      bool
	tls       *cli.ClientTLS
	token     *cli.ClientToken

	end  end
	over atomic.Bool // the client closes the End
}

// newPeer makes a peer with its flags.
func newPeer(name, usage string) *peer {
	p := &peer{Program: cli.New(name, usage)}
	p.Flags.StringVar(&p.connect, "connect", address, "connect to the broker at `ADDR` (host:port)")
	p.Flags.BoolVar(&p.wait, "wait", false, "wait for a broker that is not there yet, instead of failing")
	p.Flags.DurationVar(&p.heartbeat, "heartbeat", 10*time.Second, "take the broker for dead if it is silent for twice that `TIME`")
	p.tls = cli.ClientTLSFlags(p.Flags)
	p.token = cli.ClientTokenFlags(p.Flags, tokenVariable).NameFlag(p.Flags)
	return p
}

// dial makes the End. The End stops if the broker refuses it.
func (p *peer) dial(ctx context.Context, methods ...string) error {
	if p.heartbeat <= 0 {
		return cli.Usagef("-heartbeat must be above 0")
	}
	// The dialer does not use ctx, since the End must be able to reconnect while the
	// client waits for the last answers.
	dialer, err := p.tls.Dialer(context.WithoutCancel(ctx), p.connect)
	if err != nil {
		return err
	}
	name, token, err := p.token.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(p.Log, p.connect, token != "", p.tls.Used())
	opt := client.NewEndOptions()
	opt.SetResumeKeep(0) // each lost connection is reported
	opt.SetLogger(p.Log)
	opt.SetMeta(auth.New(program, name, token).Meta())
	opt.SetHeartbeat(p.heartbeat)
	opt.SetDelegate(teller{peer: p})
	opt.SetWaitRemoteRPCs(methods...)
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetRetryFailedFunc(cli.NotConnected(p.Log))
	opt.SetStopOnRefusal()
	opt.SetMaxWaiting(2*maxAsync, 2*maxAsyncBytes)
	opt.SetConnectWait(0) // records wait without limit for the broker
	if p.wait {
		opt.SetRetryFirst(ctx)
	}
	e, err := client.NewRetryEndWithDialer(dialer, opt)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", p.connect, err)
	}
	p.end = e.(end)
	return nil
}

// close closes the End.
func (p *peer) close() {
	p.over.Store(true)
	p.end.Close()
}

// ask calls a method of the broker. The call may be repeated.
func (p *peer) ask(ctx context.Context, method string, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	resp, err := p.end.Call(ctx, method, p.end.NewRequest(data), idempotent())
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(resp.Data(), answer)
}

// teller logs the loss of the connection and the reconnect.
type teller struct {
	*delegate.UnimplementedDelegate
	peer *peer
}

// ConnOffline implements delegate.ClientDelegate.
func (t teller) ConnOffline(delegate.ConnDescriber) error {
	if !t.peer.over.Load() {
		t.peer.Log.Warn("the connection is lost: making another")
	}
	return nil
}

// EndReOnline implements delegate.ClientDelegate.
func (t teller) EndReOnline(delegate.ClientDescriber) { t.peer.Log.Warn("connected again") }
