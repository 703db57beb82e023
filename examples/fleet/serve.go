package main

// The server: it accepts devices, and stores their readings.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/turns"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/prometheus"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

const serveUsage = `fleet serve serves devices, and operators over HTTP:

  GET    /devices                        the devices that are online
  GET    /devices/NAME                   the status of a device, and its last reading
  POST   /devices/NAME/reboot?reason=R   reboot a device
  DELETE /devices/NAME?reason=R&for=1m   kick a device, and keep it away for that time
  GET    /metrics                        metrics for Prometheus

  fleet serve [FLAGS]

It stores readings in the file of -data. On SIGINT or SIGTERM it tells the devices, which wait for
the next server, and ends. A second signal ends it at once.
`

// grace is how long the server waits for operations under way when it stops.
const grace = 5 * time.Second

// fleetServer is one run of fleet serve.
type fleetServer struct {
	*cli.Program
	listen, admin, data string
	callTimeout         time.Duration
	tls                 *cli.ServerTLS
	tokens              *cli.ServerTokens
	inspector           *cli.Inspector

	srv       *server.Server
	store     *store
	admission *admission
	turns     turns.Turns // orders the connections of one device
	metrics   *prom.Registry
}

func serveMain(args []string) int {
	s := &fleetServer{Program: cli.New("fleet serve", serveUsage)}
	s.Flags.StringVar(&s.listen, "listen", address, "listen for devices on `ADDR` (host:port)")
	s.Flags.StringVar(&s.admin, "admin", adminAddress, "listen for operators on `ADDR`, without TLS and without authentication")
	s.Flags.StringVar(&s.data, "data", "readings.jsonl", "store the readings in `FILE`")
	s.Flags.DurationVar(&s.callTimeout, "call-timeout", 5*time.Second, "give a device that `TIME` to answer a call")
	s.tls = cli.ServerTLSFlags(s.Flags)
	s.tokens = cli.ServerTokenFlags(s.Flags, tokenVariable)
	s.inspector = cli.InspectorFlag(s.Flags)
	return s.Main(args, s.run)
}

// run serves until ctx ends.
func (s *fleetServer) run(ctx context.Context) (err error) {
	switch {
	case s.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", s.Flags.Arg(0))
	case s.callTimeout <= 0:
		return cli.Usagef("-call-timeout must be above 0")
	}
	tokens, err := s.tokens.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(s.Log, s.listen, tokens.Wanted(), s.tls.Used())
	if s.store, err = openStore(s.data); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.store.close()) }()
	devices, err := s.tls.Listen(s.listen, s.Stdout)
	if err != nil {
		return err
	}
	operators, err := net.Listen("tcp", s.admin)
	if err != nil {
		devices.Close()
		return err
	}
	s.admission = &admission{tokens: tokens, log: s.Log}
	opt := server.NewEndOptions()
	opt.SetLogger(s.Log)
	opt.SetDelegate(s.admission)
	collector := prometheus.NewCollector(&prometheus.Options{Topics: []string{readings.Name}})
	s.metrics = prom.NewRegistry()
	s.metrics.MustRegister(collector)
	opt.SetStats(collector.Stats())
	s.srv = server.New(opt)
	stop, err := s.inspector.Serve(s.Program, &inspect.Handler{Sources: []inspect.Source{s.srv}, Name: nameOf})
	if err != nil {
		devices.Close()
		operators.Close()
		return err
	}
	defer stop()
	fmt.Fprintf(s.Stdout, "devices connect to %s, operators to http://%s/devices\n", devices.Addr(), operators.Addr())
	return s.serve(ctx, devices, operators)
}

// serve serves devices and operators until a signal arrives or a listener fails.
func (s *fleetServer) serve(signal context.Context, devices, operators net.Listener) error {
	ctx, cancel := context.WithCancelCause(signal)
	defer cancel(nil)
	var all, readers sync.WaitGroup
	api := &http.Server{Handler: s.api(), ReadHeaderTimeout: 10 * time.Second}
	all.Go(func() { cancel(s.srv.Serve(devices)) })
	all.Go(func() { cancel(api.Serve(operators)) })
	var dispatcher typed.Dispatcher
	readings.Subscribe(&dispatcher, s.storeReading)
	all.Go(func() {
		for {
			end, err := s.srv.AcceptEnd()
			if err != nil {
				return
			}
			name := nameOf(end)
			s.Log.Info("device connected", "name", name, "remote", end.RemoteAddr())
			wait, done := s.turns.Take(end.ClientID())
			readers.Go(func() {
				defer done()
				wait()                                    // until the readings of the previous connection are stored
				dispatcher.Run(context.Background(), end) // until the connection ends
				s.Log.Info("device gone", "name", name, "why", geminio.Cause(end))
			})
		}
	})

	<-ctx.Done()
	why := context.Cause(ctx)
	bounded, stop := context.WithTimeout(context.Background(), grace)
	defer stop()
	api.Shutdown(bounded)
	if err := geminio.Shutdown(bounded, s.srv); err != nil {
		s.Log.Info("devices were cut off", "err", err)
	}
	all.Wait()
	readers.Wait()
	if signal.Err() != nil {
		return nil
	}
	return why
}

// storeReading stores a reading of the device that has published it.
func (s *fleetServer) storeReading(ctx context.Context, r reading) error {
	device, ok := geminio.EndFrom(ctx)
	if !ok {
		return errors.New("the device has left")
	}
	r.Device = nameOf(device)
	err := s.store.add(r)
	if err != nil {
		s.Log.Warn("a reading is not stored", "name", r.Device, "err", err)
	}
	return err
}
