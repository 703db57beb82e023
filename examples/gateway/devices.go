package main

// Simulated devices.

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/metadata"
)

const devicesUsage = `gateway devices is some simulated devices. Each of them connects to one of the nodes, and
to another one when it loses that. A device acknowledges messages, and answers calls of these methods:

  status   its state as JSON
  reboot   forget its state, and begin a new boot
  echo     the request

  gateway devices [FLAGS]

It ends on SIGINT or SIGTERM, when a node refuses the first connection of a device, or when all devices
have ended.
`

const (
	retryMin, retryMax = 100 * time.Millisecond, 3 * time.Second
	// connecting is how many devices make their first connection at the same time.
	connecting = 64
)

// status is the answer to the method status.
type status struct {
	ID       uint64        `json:"id"`
	Boot     string        `json:"boot"`
	Uptime   time.Duration `json:"uptime"`   // in ns, since the boot
	Messages int           `json:"messages"` // received since the boot
	Last     string        `json:"last"`     // the topic of the last one
}

// rebooted is the answer to the method reboot.
type rebooted struct {
	Boot string `json:"boot"` // the new one
}

// fleetConfig configures simulated devices.
type fleetConfig struct {
	connect string // addresses, separated by commas
	tls     *cli.ClientTLS
	token   string
	first   uint64 // the id of the first device
	number  int
	log     *slog.Logger
}

// device is a simulated device.
type device struct {
	end geminio.End

	mu     sync.Mutex
	status status // without Uptime
	booted time.Time
}

func devicesMain(args []string) int {
	p := cli.New("gateway devices", devicesUsage)
	c := fleetConfig{}
	p.Flags.StringVar(&c.connect, "connect", deviceAddress, "connect to one of the nodes at `ADDR[,ADDR...]` (host:port)")
	p.Flags.IntVar(&c.number, "n", 1000, "be `N` devices")
	p.Flags.Uint64Var(&c.first, "first", 1, "the devices have the ids from `ID` on")
	c.tls = cli.ClientTLSFlags(p.Flags)
	token := cli.ClientTokenFlags(p.Flags, tokenVariable)
	return p.Main(args, func(ctx context.Context) (err error) {
		if p.Flags.NArg() > 0 {
			return cli.Usagef("unexpected argument %q", p.Flags.Arg(0))
		}
		if c.number < 1 || c.first < 1 {
			return cli.Usagef("-n and -first must be above 0")
		}
		if _, err := c.tls.Config(c.connect); err != nil {
			return err
		}
		if _, c.token, err = token.Load(); err != nil {
			return err
		}
		c.log = p.Log
		return runDevices(ctx, c, func() { fmt.Fprintf(p.Stdout, "%d devices are connected\n", c.number) })
	})
}

// errAllEnded is why devices end when none of them is left.
var errAllEnded = errors.New("all devices have ended, for instance since others have their ids")

// runDevices runs devices until ctx ends, a node refuses the first connection of one, or all have ended.
// It calls connected when each of them has made its first connection.
func runDevices(signal context.Context, c fleetConfig, connected func()) error {
	ctx, cancel := context.WithCancelCause(signal)
	defer cancel(nil)
	var all sync.WaitGroup
	defer all.Wait()
	ids := make(chan uint64)
	var online, ended atomic.Int64
	for range min(connecting, c.number) {
		all.Go(func() {
			for id := range ids {
				d, err := newDevice(ctx, c, id)
				if err != nil {
					cancel(fmt.Errorf("%s: %w", deviceName(id), err))
					return
				}
				all.Go(func() {
					if err := d.run(ctx); ctx.Err() == nil {
						c.log.Warn("a device has ended", "id", id, "err", err)
					}
					if ended.Add(1) == int64(c.number) {
						cancel(errAllEnded)
					}
				})
				if online.Add(1) == int64(c.number) {
					connected()
				}
			}
		})
	}
	for i := range c.number {
		select {
		case ids <- c.first + uint64(i):
		case <-ctx.Done():
		}
	}
	close(ids)
	<-ctx.Done()
	if signal.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// newDevice makes a device, and waits for its first connection until ctx ends.
func newDevice(ctx context.Context, c fleetConfig, id uint64) (*device, error) {
	d := &device{}
	d.reboot(id)
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	opt.SetMetadata(metadata.Pairs(keyToken, c.token))
	opt.SetContextDialer(c.tls.DialAny(c.connect))
	opt.SetLogger(c.log)
	opt.SetRetryFirst(ctx)
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetStopOnRefusal()
	opt.SetRetryFailedFunc(func(err error) { c.log.Info("not connected", "id", id, "err", err) })
	opt.SetRegisterLocalRPCs(
		&geminio.MethodRPC{Method: "status", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			setJSON(resp, d.state())
		}},
		&geminio.MethodRPC{Method: "reboot", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			setJSON(resp, rebooted{d.reboot(id)})
		}},
		&geminio.MethodRPC{Method: "echo", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
		}},
	)
	var err error
	d.end, err = client.NewRetryEndWithDialer(nil, opt)
	return d, err
}

// run receives messages until ctx ends, and closes the device. It returns why the device has ended
// before, such as the refusal of a node.
func (d *device) run(ctx context.Context) error {
	defer d.end.Close()
	for {
		msg, err := d.end.Receive(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", deviceName(d.end.ClientID()), cmp.Or(geminio.Cause(d.end), err))
		}
		d.mu.Lock()
		d.status.Messages++
		d.status.Last = msg.Topic()
		d.mu.Unlock()
		msg.Done() // it fails if the connection has ended; the publisher knows that
	}
}

// reboot begins a new boot.
func (d *device) reboot(id uint64) (boot string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status, d.booted = status{ID: id, Boot: rand.Text()}, time.Now()
	return d.status.Boot
}

// state returns the state of the device.
func (d *device) state() status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.status
	s.Uptime = time.Since(d.booted)
	return s
}

// setJSON makes a value the answer to a call.
func setJSON(resp geminio.Response, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		resp.SetError(err)
		return
	}
	resp.SetData(data)
}
