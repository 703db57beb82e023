package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	global "go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	protocommon "go.opentelemetry.io/proto/otlp/common/v1"
	protoresource "go.opentelemetry.io/proto/otlp/resource/v1"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/otel"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/leak"
)

// roles are the processes of the tests. The test program starts itself, with the role in the
// environment.
var roles = map[string]func(addr, control string, ready func(string)) error{
	"gateway": gateway,
	"hub":     hub,
	"device":  device,
}

// The environment of a process.
const (
	roleEnv      = "GEMINIO_TEST_ROLE"
	addrEnv      = "GEMINIO_TEST_ADDR"      // what it dials
	controlEnv   = "GEMINIO_TEST_CONTROL"   // an URL of the test
	collectorEnv = "GEMINIO_TEST_COLLECTOR" // an URL of the test
)

// deviceID is the client id of the device.
const deviceID = 7

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		leak.Main(m)
	}
	if err := runRole(role); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runRole is the main function of a process. It ends when the standard input ends.
func runRole(role string) error {
	stop, err := exportTo(os.Getenv(collectorEnv), role)
	if err != nil {
		return err
	}
	err = roles[role](os.Getenv(addrEnv), os.Getenv(controlEnv), func(addr string) {
		fmt.Println(addr)
		io.Copy(io.Discard, os.Stdin)
	})
	return errors.Join(err, stop())
}

// exportTo sets the global providers. What they get goes to a collector, at the latest when stop is
// called.
func exportTo(url, service string) (stop func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	traces, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url+"/v1/traces"))
	if err != nil {
		cancel()
		return nil, err
	}
	metrics, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(url+"/v1/metrics"))
	if err != nil {
		cancel()
		return nil, err
	}
	of := resource.NewSchemaless(attribute.String("service.name", service))
	tp := sdktrace.NewTracerProvider(sdktrace.WithBatcher(traces), sdktrace.WithResource(of))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics)), sdkmetric.WithResource(of))
	global.SetTracerProvider(tp)
	global.SetMeterProvider(mp)
	global.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	return func() error {
		defer cancel()
		return errors.Join(tp.Shutdown(ctx), mp.Shutdown(ctx))
	}, nil
}

// serviceOf returns the name that exportTo has got.
func serviceOf(r *protoresource.Resource) string {
	for _, kv := range r.GetAttributes() {
		if kv.Key == "service.name" {
			return value(kv.Value)
		}
	}
	return ""
}

// value returns the text of an attribute.
func value(v *protocommon.AnyValue) string { return v.GetStringValue() }

// gateway serves HTTP, and passes requests on to the hub.
func gateway(addr, _ string, ready func(string)) error {
	opt := client.NewEndOptions()
	otel.Instrument(opt, nil)
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", addr) }, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /measure", func(w http.ResponseWriter, r *http.Request) {
		resp, err := end.Call(r.Context(), "forward", end.NewRequest([]byte(r.URL.Query().Get("how"))))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Write(resp.Data())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: otelhttp.NewHandler(mux, "gateway")}
	go srv.Serve(l)
	ready(l.Addr().String())
	return srv.Shutdown(context.Background())
}

// hub connects the gateway with the device.
func hub(_, _ string, ready func(string)) error {
	srv := server.New()
	opt := server.NewEndOptions()
	otel.Instrument(opt, nil)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "forward", RPC: func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		end, ok := srv.End(deviceID)
		if !ok {
			resp.SetError(errors.New("the device is offline"))
			return
		}
		answer, err := end.Call(ctx, "measure", end.NewRequest(req.Data()))
		if err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData(answer.Data())
	}})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		return err
	}
	srv = l.(*server.Server)
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			go receive(end)
		}
	}()
	ready(l.Addr().String())
	return l.Close()
}

// receive answers all messages.
func receive(end geminio.End) {
	for {
		m, err := end.Receive(context.Background())
		if err != nil {
			return
		}
		m.Done()
	}
}

// device measures. In the middle of a measurement it asks the test to cut the connections, and
// publishes a message.
func device(addr, control string, ready func(string)) error {
	opt := client.NewEndOptions()
	opt.SetClientID(deviceID)
	otel.Instrument(opt, nil)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "measure", RPC: func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		if string(req.Data()) == "cut" {
			r, err := http.Get(control)
			if err != nil {
				resp.SetError(err)
				return
			}
			r.Body.Close()
		}
		end, _ := geminio.EndFrom(ctx)
		if err := end.Publish(ctx, end.NewMessage([]byte("a measurement"))); err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData([]byte("42"))
	}})
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", addr) }, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	ready(addr)
	return nil
}

// process is a started process.
type process struct {
	addr  string // what it has reported
	stdin io.Closer
	cmd   *exec.Cmd
}

// start starts a process, and waits until it is ready.
func start(t *testing.T, role, addr, control, collector string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role, addrEnv+"="+addr, controlEnv+"="+control, collectorEnv+"="+collector)
	p.cmd.Stderr = t.Output()
	stdin, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, role)
	p.addr = strings.TrimSpace(line)
	return p
}

// stop ends a process in an orderly way. It has exported everything then.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	require.NoError(t, p.cmd.Wait())
}
