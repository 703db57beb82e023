package main

// A device: it publishes readings, and obeys the server.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/names"
	"github.com/singchia/geminio/metadata"
)

const deviceUsage = `fleet device is a device: it publishes a reading from time to time, and obeys the server.

  fleet device [FLAGS] NAME

It waits for the server, and for the next server if it loses the connection. A kick keeps it away
for the time that the operator has set. It ends on SIGINT or SIGTERM, when the server has
acknowledged the readings, or after a few seconds.
`

const (
	retryMin, retryMax = 100 * time.Millisecond, 3 * time.Second
	// longestKick bounds how long a kick keeps a device away.
	longestKick = 24 * time.Hour
	// maxWaiting is how many readings may wait for the server. Further ones are lost.
	maxWaiting = 1000
	// farewell is how long a device waits for acknowledgements when it ends.
	farewell = 3 * time.Second
)

// config configures a device.
type config struct {
	name, token string
	dial        client.ContextDialer
	every       time.Duration // between two readings
	log         *slog.Logger
	refused     func(error) // called when the server refuses the device
}

// fleetDevice is a device. Its methods are safe for concurrent use.
type fleetDevice struct {
	config
	end geminio.End

	queue     chan reading  // readings that wait for the server
	published chan struct{} // closed when the queue is closed and empty
	rebooted  chan struct{} // receives after a reboot

	mu      sync.Mutex
	boot    string
	booted  time.Time
	number  uint64 // of the last reading
	acked   uint64 // readings, since the program has started
	waiting int    // readings that are not acknowledged
}

func deviceMain(args []string) int {
	p := cli.New("fleet device", deviceUsage)
	connect := p.Flags.String("connect", address, "connect to one of the servers at `ADDR[,ADDR...]` (host:port)")
	every := p.Flags.Duration("every", 10*time.Second, "publish a reading each `TIME`")
	tls := cli.ClientTLSFlags(p.Flags)
	token := cli.ClientTokenFlags(p.Flags, tokenVariable)
	return p.Main(args, func(ctx context.Context) error {
		if p.Flags.NArg() != 1 {
			return cli.Usagef("a device has one name")
		}
		c := config{name: p.Flags.Arg(0), every: *every, log: p.Log, dial: tls.DialAny(*connect)}
		if err := names.Check(c.name); err != nil {
			return cli.Usagef("%v", err)
		}
		if c.every <= 0 {
			return cli.Usagef("-every must be above 0")
		}
		if _, err := tls.Config(*connect); err != nil {
			return err
		}
		var err error
		if _, c.token, err = token.Load(); err != nil {
			return err
		}
		c.refused = func(err error) { fmt.Fprintf(p.Stdout, "refused: %v\n", err) }
		d, err := newDevice(ctx, c)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.Stdout, "%s is device %d\n", c.name, d.end.ClientID())
		d.measure(ctx)
		bounded, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		return d.close(bounded)
	})
}

// newDevice makes a device, and waits for its first connection until ctx ends.
func newDevice(ctx context.Context, c config) (*fleetDevice, error) {
	d := &fleetDevice{
		config: c, boot: rand.Text(), booted: time.Now(),
		queue: make(chan reading, maxWaiting), published: make(chan struct{}), rebooted: make(chan struct{}, 1),
	}
	opt := client.NewEndOptions()
	opt.SetMetadata(metadata.Pairs(keyName, c.name, keyToken, c.token))
	opt.SetContextDialer(c.dial)
	opt.SetLogger(c.log)
	opt.SetRetryFirst(ctx)
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetMaxRetryAfter(longestKick)
	opt.SetConnectWait(0) // readings wait for the server, however long that takes
	opt.SetRetryFailedFunc(d.failed)
	opt.SetRegisterLocalRPCs(getStatus.Handler(d.onStatus), doReboot.Handler(d.onReboot))
	var err error
	if d.end, err = client.NewRetryEndWithDialer(nil, opt); err != nil {
		return nil, err
	}
	go d.publish()
	return d, nil
}

// publish publishes the readings in the queue, one after the other. While there is no server, it
// waits.
func (d *fleetDevice) publish() {
	defer close(d.published)
	for r := range d.queue {
		err := readings.Publish(context.Background(), d.end, r)
		if err != nil {
			d.log.Warn("a reading is not acknowledged", "number", r.Number, "err", err)
			continue
		}
		d.mu.Lock()
		d.waiting--
		d.acked++
		d.mu.Unlock()
	}
}

// failed is called when an attempt to connect has failed.
func (d *fleetDevice) failed(err error) {
	d.log.Info("not connected", "name", d.name, "err", err)
	var refused *geminio.RefusedError
	if errors.As(err, &refused) && !errors.Is(err, geminio.ErrGoingAway) { // the server stays
		d.refused(refused)
	}
}

// measure publishes readings until ctx ends.
func (d *fleetDevice) measure(ctx context.Context) {
	ticker := time.NewTicker(d.every)
	defer ticker.Stop()
	for {
		d.add(20 + mathrand.NormFloat64())
		select {
		case <-ticker.C:
		case <-d.rebooted:
		case <-ctx.Done():
			return
		}
	}
}

// add adds a reading to the queue. It does not wait.
func (d *fleetDevice) add(value float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := reading{Boot: d.boot, Number: d.number + 1, Time: time.Now(), Value: value}
	select {
	case d.queue <- r:
		d.number++
		d.waiting++
	default:
		d.log.Warn("a reading is lost: too many wait for the server")
	}
}

// close ends the device. It waits until all readings are acknowledged, at most until ctx ends. No
// other method may be called at the same time, or later.
func (d *fleetDevice) close(ctx context.Context) error {
	close(d.queue)
	select {
	case <-d.published:
	case <-ctx.Done():
	}
	d.end.Close() // a Publish that waits returns
	<-d.published
	if d.waiting > 0 {
		return fmt.Errorf("%d readings are not acknowledged", d.waiting)
	}
	return nil
}

// onStatus handles getStatus.
func (d *fleetDevice) onStatus(context.Context, struct{}) (status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return status{Boot: d.boot, Uptime: time.Since(d.booted), Acked: d.acked, Waiting: d.waiting}, nil
}

// onReboot handles doReboot: readings are numbered from 1 again.
func (d *fleetDevice) onReboot(_ context.Context, req reboot) (rebooted, error) {
	if req.Reason == "" {
		return rebooted{}, errors.New("a device reboots only for a reason")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.boot, d.booted, d.number = rand.Text(), time.Now(), 0
	select {
	case d.rebooted <- struct{}{}:
	default:
	}
	return rebooted{Boot: d.boot}, nil
}
