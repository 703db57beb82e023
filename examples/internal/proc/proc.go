package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Forever is the time after which a test counts as hanging.
const Forever = 60 * time.Second

// Build builds the commands in the given directories, each with the extra build
// flags, and returns the paths of the binaries, in a directory that cleanup
// removes. It is for TestMain.
func Build(dirs []string, flags ...string) (binaries []string, cleanup func(), err error) {
	out, err := os.MkdirTemp("", "geminio-example-")
	if err != nil {
		return nil, nil, err
	}
	cleanup = func() { os.RemoveAll(out) }
	for i, dir := range dirs {
		binary := filepath.Join(out, fmt.Sprintf("%s-%d", filepath.Base(dir), i))
		if runtime.GOOS == "windows" {
			binary += ".exe"
		}
		build := exec.Command("go", append(append([]string{"build"}, flags...), "-o", binary, ".")...)
		build.Dir = dir
		if text, err := build.CombinedOutput(); err != nil {
			cleanup()
			return nil, nil, fmt.Errorf("go build in %s: %w\n%s", dir, err, text)
		}
		binaries = append(binaries, binary)
	}
	return binaries, cleanup, nil
}

// Process is a running program. It keeps the output of the program, stdout and stderr. All
// methods are safe for concurrent use.
type Process struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // closed when it has ended

	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{} // closed when text grows or the process ends
	over bool
}

// Start starts a program. The end of the test kills it if it still runs.
func Start(t testing.TB, binary string, args ...string) *Process {
	t.Helper()
	p := newProcess(t, binary, args)
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = (*output)(p), (*output)(p)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() // the state has the exit code
		p.ended()
	}()
	p.clean()
	return p
}

func newProcess(t testing.TB, binary string, args []string) *Process {
	p := &Process{
		t: t, name: filepath.Base(binary), cmd: exec.Command(binary, args...),
		done: make(chan struct{}), news: make(chan struct{}),
	}
	if os.Getenv(raceOptions) == "" {
		p.cmd.Env = append(os.Environ(), raceOptions+"="+quickExit)
	}
	return p
}

// ended is called when the process has ended and all its output was read.
func (p *Process) ended() {
	p.mu.Lock()
	p.over = true
	close(p.news)
	p.mu.Unlock()
	close(p.done)
}

// clean kills the process and waits for its end.
func (p *Process) clean() {
	p.t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if p.t.Failed() {
			p.t.Logf("%s printed:\n%s", p.name, p.Output())
		}
	})
}

// output is an io.Writer for the output of a process.
type output Process

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	close(o.news)
	o.news = make(chan struct{})
	return len(b), nil
}

// Output returns the output of the process so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// Type writes to the process's standard input.
func (p *Process) Type(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatalf("%s: stdin: %v", p.name, err)
	}
}

// CloseInput ends the process's standard input.
func (p *Process) CloseInput() { p.stdin.Close() }

// Expect waits until the output matches the regular expression, and returns
// the match and its groups. It fails the test after Forever, or if the
// process ends before.
func (p *Process) Expect(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	timer := time.NewTimer(Forever)
	defer timer.Stop()
	for {
		p.mu.Lock()
		match := re.FindStringSubmatch(p.text.String())
		news, over := p.news, p.over
		p.mu.Unlock()
		if match != nil {
			return match
		}
		if over {
			p.t.Fatalf("%s ended without printing %q:\n%s", p.name, pattern, p.Output())
		}
		select {
		case <-news:
		case <-timer.C:
			p.t.Fatalf("%s did not print %q:\n%s", p.name, pattern, p.Output())
		}
	}
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill kills the process, as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(os.Kill)
	p.Wait()
}

// Wait waits for the end of the process and returns its exit code, -1 if a signal
// has ended it.
func (p *Process) Wait() int {
	p.t.Helper()
	timer := time.NewTimer(Forever)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-timer.C:
		p.t.Fatalf("%s does not end:\n%s", p.name, p.Output())
		return -1
	}
}

// Run runs a program to its end, and returns its exit code and output.
func Run(t testing.TB, binary string, args ...string) (int, string) {
	t.Helper()
	p := Start(t, binary, args...)
	p.CloseInput()
	code := p.Wait()
	return code, p.Output()
}

// Until calls do repeatedly until the output of p matches the regular expression. It reports
// false if the output does not match within the time Forever.
func (p *Process) Until(pattern string, do func()) bool {
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(Forever); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if re.MatchString(p.Output()) {
			return true
		}
		do()
	}
	return false
}
