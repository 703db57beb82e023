//go:build unix

package proc

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Freeze stops the process, as ^Z does, and waits until it has stopped. A signal with
// syscall.SIGCONT continues the process.
func (p *Process) Freeze() {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(Forever); ; time.Sleep(time.Millisecond) {
		state, err := exec.Command("ps", "-o", "state=", "-p", fmt.Sprint(p.Pid())).Output()
		if err == nil && strings.HasPrefix(strings.TrimSpace(string(state)), "T") {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not stop: it is %q, %v", p.name, state, err)
		}
	}
}
