package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/singchia/geminio/examples/internal/proc"
)

// smallDisk is a disk for the storage of a broker.
type smallDisk struct {
	name  string
	start func(t *testing.T, flags ...string) *proc.Process // starts a broker in a shell
	fill  func(t *testing.T, broker *proc.Process)
	clear func(t *testing.T, broker *proc.Process)
}

// smallDisks are a file system of its own, if this user may mount one, and a limit on the
// size of files, which every user may set.
func smallDisks() []smallDisk {
	const limit = 128 << 10
	setLimit := func(t *testing.T, broker *proc.Process, bytes uint64) {
		t.Helper()
		var old unix.Rlimit
		require.NoError(t, unix.Prlimit(broker.Pid(), unix.RLIMIT_FSIZE, nil, &old))
		require.NoError(t, unix.Prlimit(broker.Pid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}, nil))
	}
	disks := []smallDisk{{
		name: "limit of files",
		start: func(t *testing.T, flags ...string) *proc.Process {
			return proc.Start(t, binary, append([]string{"broker", "-data", t.TempDir()}, flags...)...)
		},
		fill:  func(t *testing.T, broker *proc.Process) { setLimit(t, broker, limit) },
		clear: func(t *testing.T, broker *proc.Process) { setLimit(t, broker, unix.RLIM_INFINITY) },
	}}
	if exec.Command("unshare", "-rm", "true").Run() == nil {
		var dir string
		filler := func(broker *proc.Process) string {
			return filepath.Join("/proc", fmt.Sprint(broker.Pid()), "root", dir, "filler")
		}
		disks = append(disks, smallDisk{
			name: "file system",
			start: func(t *testing.T, flags ...string) *proc.Process {
				dir = t.TempDir()
				script := `mount -t tmpfs -o size=12m tmpfs "$0" && exec "$@"`
				return proc.Start(t, "unshare", append([]string{"-rm", "sh", "-c", script, dir,
					binary, "broker", "-data", filepath.Join(dir, "data")}, flags...)...)
			},
			fill: func(t *testing.T, broker *proc.Process) {
				f, err := os.Create(filler(broker))
				require.NoError(t, err)
				defer f.Close()
				for err == nil {
					_, err = f.Write(make([]byte, 1<<10))
				}
				require.ErrorIs(t, err, unix.ENOSPC)
			},
			clear: func(t *testing.T, broker *proc.Process) { require.NoError(t, os.Remove(filler(broker))) },
		})
	}
	return disks
}

// A full disk makes producers wait. The log and producers with a -timeout report it. When
// there is space again, all producers continue, and no acknowledged message is lost.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, disk := range smallDisks() {
		t.Run(disk.name, func(t *testing.T) {
			t.Parallel()
			const count = 3000 // all but the first one fit into a pipe
			b := disk.start(t, "-listen", "127.0.0.1:0", "-max-bytes", "2000000", "-group", "t/g")
			addr := b.Expect(`listening on (\S+)\n`)[1]
			var want strings.Builder
			for i := range count {
				fmt.Fprintf(&want, "%07d %s\n", i, strings.Repeat("x", 12))
			}
			lines := strings.SplitAfter(want.String(), "\n")[:count]
			produce(t, addr, strings.Join(lines[:500], ""), "-async", "100")
			disk.fill(t, b)
			p := startProducer(t, addr, strings.Join(lines[500:], ""), "-async", "200")
			b.Expect(`level=WARN msg="the disk is full`)

			// The stored messages can be consumed.
			file := filepath.Join(t.TempDir(), "out")
			c := startConsumer(t, addr, "g", "-wait", "-o", file)
			require.Eventually(t, func() bool { return strings.Count(content(t, file), "\n") >= 500 }, proc.Forever, 5*time.Millisecond)
			code, said := ended(startProducer(t, addr, "impatient\n", "-wait", "-timeout", "3s"))
			if code != 0 { // otherwise consuming has made space
				assert.Equal(t, 1, code)
				assert.Contains(t, said, "not acknowledged: the broker's disk is full")
			}

			disk.clear(t, b)
			b.Expect(`level=WARN msg="the disk has room again`)
			assert.Zero(t, p.Wait(), p.Output())
			p.Expect(fmt.Sprintf("acknowledged %d messages", count-500))
			consumed(t, addr)
			stop(t, c)
			got, _ := once(content(t, file))
			same(t, want.String(), strings.ReplaceAll(got, "impatient\n", ""))
			stop(t, b)
		})
	}
}
