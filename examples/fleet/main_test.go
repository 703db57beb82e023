package main

// These tests run the server as a process. The devices of TestServerKilled run in the test.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

// program is the path of the built program.
var program string

func TestMain(m *testing.M) {
	built, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = built[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

const token = "a token of the fleet"

// fleet is a server, with the flags that its successors have too.
type fleet struct {
	t     *testing.T
	flags []string
	data  string
	cert  string
	proxy *kit.Proxy // devices connect to it

	*proc.Process
	admin string // the URL of the API
}

func startFleet(t *testing.T) *fleet {
	f := &fleet{t: t, data: filepath.Join(t.TempDir(), "readings")}
	var key string
	f.cert, key = proc.Certificate(t)
	f.flags = []string{"serve", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-data", f.data,
		"-cert", f.cert, "-key", key, "-token-file", proc.TokenFile(t, token)}
	f.start()
	return f
}

// start starts the server, or its successor.
func (f *fleet) start() {
	f.t.Helper()
	f.Process = proc.Start(f.t, program, f.flags...)
	m := f.Expect(`devices connect to (\S+), operators to (\S+)\n`)
	f.admin = m[2]
	if f.proxy == nil {
		f.proxy = kit.NewProxy(f.t, m[1])
	}
	f.proxy.SetTarget(m[1])
}

// stop ends the server with a signal.
func (f *fleet) stop() {
	f.t.Helper()
	f.Signal(syscall.SIGTERM)
	assert.Zero(f.t, f.Wait(), "the server's exit code")
}

// tls returns the flags with which devices trust the server.
func (f *fleet) tls() *cli.ClientTLS {
	flags := flag.NewFlagSet("", flag.PanicOnError)
	tls := cli.ClientTLSFlags(flags)
	flags.Parse([]string{"-ca", f.cert})
	return tls
}

// ask sends a request to the API. It decodes the answer, unless the status is an error.
func (f *fleet) ask(method, path string, answer any) (code int, text string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(kit.Deadline(f.t), method, f.admin+path, nil)
	require.NoError(f.t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	if resp.StatusCode == http.StatusOK {
		require.NoError(f.t, json.Unmarshal(body, answer), "%s", body)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// readings returns the numbers of the readings in the file, by device and boot, in their order.
func (f *fleet) readings() map[boot][]uint64 {
	f.t.Helper()
	text, err := os.ReadFile(f.data)
	require.NoError(f.t, err)
	all := make(map[boot][]uint64)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // the server writes it at this moment
		}
		var r reading
		require.NoError(f.t, json.Unmarshal([]byte(line), &r))
		b := boot{r.Device, r.Boot}
		all[b] = append(all[b], r.Number)
	}
	return all
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, proc.Forever, 10*time.Millisecond, what)
}

// state returns the boot and the counters of a device.
func (d *fleetDevice) state() status {
	s, _ := d.onStatus(context.Background(), struct{}{})
	return s
}

// The server is killed while 200 devices publish, and started again. The devices continue with
// their ids, and each reading is stored once.
func TestServerKilled(t *testing.T) {
	const count, part = 200, 10
	f := startFleet(t)
	ctx, cancel := context.WithTimeout(t.Context(), proc.Forever)
	defer cancel()
	refusals := make(chan string, 100)
	devices := make([]*fleetDevice, count)
	var all sync.WaitGroup
	for i := range devices {
		all.Go(func() {
			d, err := newDevice(ctx, config{
				name: fmt.Sprintf("d%03d", i), token: token, dial: f.tls().DialAny(f.proxy.Addr), every: time.Hour,
				log: slog.New(slog.DiscardHandler), refused: func(err error) { refusals <- err.Error() },
			})
			if assert.NoError(t, err) {
				devices[i] = d
			}
		})
	}
	all.Wait()
	require.NotContains(t, devices, (*fleetDevice)(nil))
	defer func() {
		for _, d := range devices {
			assert.NoError(t, d.close(ctx))
		}
	}()
	publish := func() {
		for range part {
			for _, d := range devices {
				d.add(20)
			}
		}
	}
	go publish()
	stored := func() (n int) {
		for _, numbers := range f.readings() {
			n += len(numbers)
		}
		return n
	}
	eventually(t, "a part is stored", func() bool { return stored() > count*part/4 })
	f.Kill()
	t.Logf("the server was killed after %d of %d readings", stored(), count*part)
	f.start()
	eventually(t, "the first part is acknowledged", func() bool {
		return !slices.ContainsFunc(devices, func(d *fleetDevice) bool { return d.state().Acked < part })
	})
	publish()
	eventually(t, "the second part is acknowledged", func() bool {
		return !slices.ContainsFunc(devices, func(d *fleetDevice) bool { return d.state().Acked < 2*part })
	})

	readings := f.readings()
	assert.Len(t, readings, count)
	var want []uint64
	for n := range uint64(2 * part) {
		want = append(want, n+1)
	}
	for b, numbers := range readings {
		require.Equal(t, want, numbers, b.device)
	}
	var online []device
	code, _ := f.ask("GET", "", &online)
	require.Equal(t, http.StatusOK, code)
	require.Len(t, online, count)
	for i, d := range online {
		assert.Equal(t, fmt.Sprintf("d%03d", i), d.Name)
		assert.Equal(t, idOf(d.Name), d.ID)
		assert.Equal(t, devices[i].end.ClientID(), d.ID)
		assert.EqualValues(t, 2*part, d.Last.Number)
	}
	operate(t, f, devices, refusals)
	f.stop()
}

// operate tests the API.
func operate(t *testing.T, f *fleet, devices []*fleetDevice, refusals <-chan string) {
	var d device
	code, _ := f.ask("GET", "/d007", &d)
	require.Equal(t, http.StatusOK, code)
	assert.Equal(t, devices[7].state().Boot, d.Status.Boot)
	before := d.Status.Boot
	var again rebooted
	code, _ = f.ask("POST", "/d007/reboot?reason=test", &again)
	require.Equal(t, http.StatusOK, code)
	assert.NotEqual(t, before, again.Boot)
	assert.Equal(t, devices[7].state().Boot, again.Boot)
	code, text := f.ask("POST", "/d007/reboot", &again)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Equal(t, "a device reboots only for a reason", text)
	code, text = f.ask("GET", "/nobody", &d)
	assert.Equal(t, http.StatusNotFound, code)
	assert.Equal(t, "nobody is offline", text)

	require.Empty(t, refusals)
	code, _ = f.ask("DELETE", "/d008?for=yesterday", &struct{}{})
	assert.Equal(t, http.StatusBadRequest, code)
	code, _ = f.ask("DELETE", "/d008?for=1h&reason=maintenance", &struct{}{})
	require.Equal(t, http.StatusOK, code)
	assert.Contains(t, kit.Await(t, proc.Forever, "the refusal", refusals), "kicked: maintenance")
	code, _ = f.ask("GET", "/d008", &d)
	assert.Equal(t, http.StatusNotFound, code)
	var online []device
	f.ask("GET", "", &online)
	assert.Len(t, online, len(devices)-1)
}

// A kick reaches the device with its code and reason, and ends calls that are under way.
func TestKickHasAReason(t *testing.T) {
	f := startFleet(t)
	opt := client.NewEndOptions()
	opt.SetMetadata(metadata.Pairs(keyName, "plain", keyToken, token))
	opt.SetContextDialer(f.tls().DialAny(f.proxy.Addr))
	end, err := client.NewEndWithDialer(nil, opt)
	require.NoError(t, err)
	defer end.Close()
	eventually(t, "the device is online", func() bool {
		code, _ := f.ask("DELETE", "/plain?reason=scrap", &struct{}{})
		return code == http.StatusOK
	})
	kit.Await(t, proc.Forever, "the end", geminio.Done(end))
	var why *geminio.RemoteError
	require.ErrorAs(t, geminio.Cause(end), &why)
	assert.Equal(t, geminio.RemoteError{Code: codeKicked, Text: "scrap"}, geminio.RemoteError{Code: why.Code, Text: why.Text})
	_, err = client.NewEndWithDialer(nil, opt)
	var refused *geminio.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, codeKicked, refused.Code)
	assert.Greater(t, refused.RetryAfter, 30*time.Second)
	f.stop()
}

// The programs work together: a device with a wrong token is told so, and one with the right token
// outlives its server.
func TestPrograms(t *testing.T) {
	f := startFleet(t)
	device := func(token string, flags ...string) *proc.Process {
		return proc.Start(t, program, append([]string{"device", "-connect", "127.0.0.1:1," + f.proxy.Addr, "-ca", f.cert,
			"-token-file", proc.TokenFile(t, token), "-every", "10ms"}, flags...)...)
	}
	stranger := device("another token", "stranger")
	stranger.Expect(`refused: .*the server wants another token`)
	stranger.Signal(syscall.SIGTERM)
	assert.Equal(t, 1, stranger.Wait())

	d := device(token, "pump")
	d.Expect(fmt.Sprintf("pump is device %d\n", idOf("pump")))
	numbers := func() int {
		for b, numbers := range f.readings() {
			assert.Equal(t, "pump", b.device)
			return len(numbers)
		}
		return 0
	}
	eventually(t, "readings", func() bool { return numbers() > 10 })
	f.stop()
	n := numbers()
	f.start()
	eventually(t, "readings after a restart", func() bool { return numbers() > n+10 })
	d.Signal(syscall.SIGTERM)
	assert.Zero(t, d.Wait(), d.Output())
	for _, numbers := range f.readings() {
		for i, number := range numbers {
			require.EqualValues(t, i+1, number)
		}
	}
	f.stop()
}

func TestCommandLines(t *testing.T) {
	for _, args := range []string{
		"serve x", "serve -call-timeout 0s", "serve -key k", "device", "device a b", "device -every 0s a",
		"device -pin x a", "device ../a",
	} {
		code, text := proc.Run(t, program, strings.Fields(args)...)
		assert.Equal(t, cli.ExitUsage, code, "%s: %s", args, text)
	}
}

// The store has each reading once, and cuts off an incomplete line.
func TestStore(t *testing.T) {
	name := filepath.Join(t.TempDir(), "readings")
	s, err := openStore(name)
	require.NoError(t, err)
	_, err = openStore(name)
	assert.ErrorContains(t, err, "another server has it")
	readings := []reading{
		{Device: "a", Boot: "x", Number: 1}, {Device: "a", Boot: "x", Number: 2}, {Device: "b", Boot: "x", Number: 1},
		{Device: "a", Boot: "y", Number: 1},
	}
	add := func() {
		t.Helper()
		for _, r := range readings {
			require.NoError(t, s.add(r))
		}
		last, ok := s.latest("a")
		assert.True(t, ok)
		assert.Equal(t, readings[3], last)
	}
	add()
	add() // again
	require.NoError(t, s.close())
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, len(readings), strings.Count(string(text), "\n"))

	for cut := range text {
		require.NoError(t, os.WriteFile(name, text[:cut], 0o600))
		s, err = openStore(name)
		require.NoError(t, err)
		for _, r := range readings {
			require.NoError(t, s.add(r))
		}
		require.NoError(t, s.close())
		whole, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, string(text), string(whole), "cut at %d", cut)
	}
	require.NoError(t, os.WriteFile(name, []byte("{\n"), 0o600))
	_, err = openStore(name)
	assert.ErrorContains(t, err, "the line at byte 0")
	_, err = openStore(filepath.Join(name, "x"))
	assert.True(t, errors.As(err, new(*os.PathError)), err)
}
