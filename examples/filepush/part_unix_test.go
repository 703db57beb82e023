//go:build unix

package main

// Tests of files and of incomplete files.

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// partial lets a client receive a part of a served file, and keeps it connected. It
// returns the server, a proxy to it, and the client, which writes to the path.
func partial(t *testing.T, served, path string) (*proc.Process, *kit.Proxy, *proc.Process) {
	t.Helper()
	s, addr := serve(t, served)
	proxy := kit.NewProxy(t, addr)
	proxy.SetLimit(3 << 20)
	c := proc.Start(t, binary, "receive", "-connect", proxy.Addr, "-o", path)
	require.Eventually(t, func() bool {
		info, err := os.Stat(path + ".part")
		return err == nil && info.Size() > 1<<20
	}, proc.Forever, time.Millisecond)
	return s, proxy, c
}

// A client names the end of its server as the cause of the error. The next run resumes.
func TestResume(t *testing.T) {
	served, data := newFile(t, 8<<20)
	path := filepath.Join(t.TempDir(), "copy")
	s, proxy, c := partial(t, served, path)
	s.Kill()
	assert.Equal(t, 1, c.Wait())
	c.Expect(`receiving "some file.bin": after \d+ of 8388608 bytes.*: the other side has died, or the connection was cut`)
	n := c.Expect(`copy\.part has (\d+) bytes, behind which the next run goes on\n`)[1]
	only(t, filepath.Dir(path), "copy.part")

	s, addr := serve(t, served)
	proxy.SetTarget(addr)
	proxy.SetLimit(0)
	code, said := receiveFrom(t, proxy.Addr, "-o", path)
	assert.Zero(t, code, said)
	assert.Contains(t, said, "resumed   after "+n+" bytes\n")
	assert.Equal(t, 2, strings.Count(said, sumOf(data)), said)
	same(t, data, path)
	only(t, filepath.Dir(path), "copy")
	stop(t, s)
	assert.Contains(t, s.Output(), "resumed   after "+n+" bytes\n")
}

// The next run also resumes after a signal. A complete part only needs the sum.
func TestInterrupted(t *testing.T) {
	served, data := newFile(t, 8<<20)
	path := filepath.Join(t.TempDir(), "copy")
	_, proxy, c := partial(t, served, path)
	c.Signal(syscall.SIGTERM)
	assert.Equal(t, 1, c.Wait())
	c.Expect(`filepush receive: interrupted\n`)
	c.Expect(`copy\.part has \d+ bytes`)
	require.NoError(t, os.WriteFile(path+".part", data, 0o600))
	proxy.SetLimit(0)
	code, said := receiveFrom(t, proxy.Addr, "-o", path)
	assert.Zero(t, code, said)
	assert.Contains(t, said, "resumed   after 8388608 bytes\n")
	same(t, data, path)
}

// The transfer does not resume from a part of another file.
func TestPartOfAnotherFile(t *testing.T) {
	served, data := newFile(t, 1<<20)
	path := filepath.Join(t.TempDir(), "copy")
	s, addr := serve(t, served)
	for name, part := range map[string][]byte{
		"other": []byte("something else"), "longer": append(append([]byte{}, data...), 0), "empty": {},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path+".part", part, 0o600))
			code, said := receiveFrom(t, addr, "-o", path)
			assert.Zero(t, code, said)
			assert.NotContains(t, said, "resumed")
			same(t, data, path)
			only(t, filepath.Dir(path), "copy")
		})
	}
	stop(t, s)
}

// Two clients do not write to one file.
func TestPartInUse(t *testing.T) {
	served, _ := newFile(t, 8<<20)
	path := filepath.Join(t.TempDir(), "copy")
	_, proxy, c := partial(t, served, path)
	code, said := receiveFrom(t, proxy.Addr, "-o", path)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "copy.part: another process has it")
	c.Kill()
}

// The file gets the mode of the file that it replaces. Before that, other users cannot read it.
func TestMode(t *testing.T) {
	served, data := newFile(t, 8<<20)
	for _, mode := range []os.FileMode{0o600, 0o640, 0o755, 0o444} {
		t.Run(mode.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
			require.NoError(t, os.Chmod(path, mode))
			s, proxy, c := partial(t, served, path)
			info, err := os.Stat(path + ".part")
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			c.Kill()
			same(t, []byte("old"), path)

			proxy.SetLimit(0)
			code, said := receiveFrom(t, proxy.Addr, "-o", path)
			assert.Zero(t, code, said)
			info, err = os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode())
			same(t, data, path)
			s.Kill()
		})
	}
	s, addr := serve(t, served)
	path := filepath.Join(t.TempDir(), "copy")
	code, said := receiveFrom(t, addr, "-o", path)
	assert.Zero(t, code, said)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, 0o666&^umask(), info.Mode(), "a new file")
	stop(t, s)
}

// umask returns the file mode creation mask.
func umask() os.FileMode {
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	return os.FileMode(mask)
}

// A symbolic link remains, and the file is written to its target.
func TestSymbolicLink(t *testing.T) {
	served, data := newFile(t, 1000)
	s, addr := serve(t, served)
	for _, there := range []bool{true, false} {
		dir, other := t.TempDir(), t.TempDir()
		target, link, first := filepath.Join(other, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "first")
		if there {
			require.NoError(t, os.WriteFile(target, []byte("old"), 0o640))
		}
		require.NoError(t, os.Symlink(target, link))
		require.NoError(t, os.Symlink("link", first)) // relative, and to a link
		code, said := receiveFrom(t, addr, "-o", first)
		assert.Zero(t, code, said)
		assert.Contains(t, said, "file      "+target+"\n")
		same(t, data, target)
		for _, name := range []string{link, first} {
			info, err := os.Lstat(name)
			require.NoError(t, err)
			assert.NotZero(t, info.Mode()&os.ModeSymlink, "%s is a link no more", name)
		}
		only(t, other, "target")
	}
	loop := filepath.Join(t.TempDir(), "loop")
	require.NoError(t, os.Symlink(loop, loop))
	code, said := receiveFrom(t, addr, "-o", loop)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "too many symbolic links")
	stop(t, s)
}

// The program does not use a file of another user in place of its part.
func TestPartInTheWay(t *testing.T) {
	served, _ := newFile(t, 1000)
	s, addr := serve(t, served)
	for name, put := range map[string]func(victim, part string) error{
		"link":      os.Symlink,
		"hard link": os.Link,
		"directory": func(_, part string) error { return os.Mkdir(part, 0o700) },
		"pipe":      func(_, part string) error { return syscall.Mkfifo(part, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "copy")
			require.NoError(t, os.WriteFile(victim, []byte("mine"), 0o600))
			require.NoError(t, put(victim, path+".part"))
			code, said := receiveFrom(t, addr, "-o", path)
			assert.Equal(t, 1, code, said)
			assert.Contains(t, said, "copy.part")
			same(t, []byte("mine"), victim)
			_, err := os.Lstat(path)
			assert.ErrorIs(t, err, os.ErrNotExist)
		})
	}
	stop(t, s)
}
