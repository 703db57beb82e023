package main

// These tests build the program and run it as processes.

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

// binary is the path of the built program.
var binary string

func TestMain(m *testing.M) {
	built, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = built[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// serve starts a server and returns its address.
func serve(t *testing.T, flags ...string) (*proc.Process, string) {
	t.Helper()
	s := proc.Start(t, binary, append([]string{"serve", "-listen", "127.0.0.1:0"}, flags...)...)
	return s, s.Expect(`listening on (\S+)\n`)[1]
}

// join starts a client, and waits until it is in the room.
func join(t *testing.T, addr, name string, flags ...string) *proc.Process {
	t.Helper()
	c := start(t, addr, name, flags...)
	c.Expect(`\* you are ` + name + `; here: .*\n`)
	return c
}

// start starts a client.
func start(t *testing.T, addr, name string, flags ...string) *proc.Process {
	t.Helper()
	return proc.Start(t, binary, append(append([]string{"join", "-connect", addr}, flags...), name)...)
}

// stop ends a process with a signal and expects the exit code 0.
func stop(t *testing.T, p *proc.Process) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	assert.Zero(t, p.Wait(), "exit code after SIGTERM")
}

// quit makes a client leave.
func quit(t *testing.T, c *proc.Process) {
	t.Helper()
	c.Type("/quit\n")
	assert.Zero(t, c.Wait(), "exit code after /quit")
}

func TestConversation(t *testing.T) {
	s, addr := serve(t)
	ada := join(t, addr, "ada")
	bob := join(t, addr, "bob")
	bob.Expect(`here: ada, bob\n`)
	ada.Expect(`(?m)^\* bob has joined$`)

	ada.Type("hello\n")
	bob.Expect(`(?m)^<ada> hello$`)
	bob.Type("hello to you\x1b[2J, \tada \n")
	ada.Expect(`(?m)^<bob> hello to you\x1b\[2J,  ada$`) // a pipe gets the text unchanged
	ada.Type("👨\u200d👩\u200d👧 می\u200cخواهم\n")
	bob.Expect("<ada> 👨\u200d👩\u200d👧 می\u200cخواهم\n")

	ada.Type("/who\n")
	ada.Expect(`(?m)^\* here: ada, bob$`)
	bob.Type("/shout\n")
	bob.Expect(`(?m)^! line 2: there is no /shout;`)
	bob.Type("/help\n")
	bob.Expect(`/msg NAME TEXT`)
	bob.Type(strings.Repeat("long ", 500) + "\n")
	bob.Expect(`(?m)^! line 4: a line of 2500 bytes is too long: at most 2000$`)

	quit(t, ada)
	bob.Expect(`(?m)^\* ada has left$`)
	bob.CloseInput() // the end of the input is a /quit
	assert.Equal(t, 1, bob.Wait(), "not all was said")
	for _, c := range []*proc.Process{ada, bob} {
		assert.NotContains(t, c.Output(), "connection")
		assert.NotContains(t, c.Output(), "WARN")
	}
	assert.NotContains(t, ada.Output(), "<ada>", "what one says oneself is not repeated")
	stop(t, s)
}

// A new client gets the last lines, and no private lines of others.
func TestHistory(t *testing.T) {
	s, addr := serve(t, "-history", "3")
	ada := join(t, addr, "ada")
	bob := join(t, addr, "bob")
	for i := range 5 {
		ada.Type(fmt.Sprintf("line %d\n", i))
	}
	ada.Type("/msg bob a secret\n")
	bob.Expect(`\[ada to you\] a secret\n`)
	quit(t, ada)

	// They include lines of an earlier client with the same name.
	other := join(t, addr, "ada")
	bob.Type("welcome\n")
	other.Expect(`<bob> welcome\n`)
	assert.Contains(t, other.Output(), "* you are ada; here: ada, bob\n"+
		"<ada> line 2\n<ada> line 3\n<ada> line 4\n<bob> welcome\n")
	stop(t, s)
}

func TestPrivate(t *testing.T) {
	s, addr := serve(t)
	ada, bob, carol := join(t, addr, "ada"), join(t, addr, "bob"), join(t, addr, "carol")
	ada.Type("/msg Bob are you there?\n") // names are not case-sensitive
	ada.Expect(`(?m)^\[you to Bob\] are you there\?$`)
	bob.Expect(`(?m)^\[ada to you\] are you there\?$`)
	ada.Type("/msg dave hello\n")
	ada.Expect(`(?m)^! line 2: there is nobody called dave$`)
	ada.Type("/msg bob\n")
	ada.Expect(`(?m)^! line 3: /msg NAME TEXT, please$`)
	ada.Type("to all\n")
	carol.Expect(`<ada> to all\n`)
	assert.NotContains(t, carol.Output(), "are you there")
	stop(t, s)
}

// The name of a member is refused to other clients, with a text, until the member leaves.
func TestDuplicateName(t *testing.T) {
	s, addr := serve(t)
	ada := join(t, addr, "ada")
	for _, name := range []string{"ada", "ADA"} {
		code, said := proc.Run(t, binary, "join", "-connect", addr, name)
		assert.Equal(t, 1, code)
		assert.Equal(t, "chatroom join: joining at "+addr+": the name ada is taken\n", said)
	}
	ada.Type("/who\n")
	ada.Expect(`\* here: ada\n`)
	assert.NotContains(t, ada.Output(), "has joined", "who was refused was not there")
	quit(t, ada)
	join(t, addr, "ada")
	stop(t, s)
}

// A name that looks like that of a member is refused, with any characters.
func TestNamesThatLookAlike(t *testing.T) {
	s, addr := serve(t)
	ada := join(t, addr, "paypal")
	for _, name := range []string{"раураl", "PAYPAL", "paypaI", "ｐaypal"} {
		code, said := proc.Run(t, binary, "join", "-connect", addr, name)
		assert.Equal(t, 1, code, "%q: %s", name, said)
		assert.Regexp(t, `taken\n\z`, said)
	}
	for _, name := range []string{"pay\u200bpal", "paypal\u3164", strings.Repeat("x", 21)} {
		code, said := proc.Run(t, binary, "join", "-connect", addr, name)
		assert.Equal(t, 2, code, "%q: %s", name, said)
	}
	join(t, addr, "раураl-2") // this name looks different
	quit(t, ada)
	stop(t, s)
}

// Names can be reserved for clients with the token of the name.
func TestTokens(t *testing.T) {
	table := proc.SecretFile(t, "ada = \"the token of ada\"\n")
	ada, shared := proc.TokenFile(t, "the token of ada"), proc.TokenFile(t, "the token of all")
	s, addr := serve(t, "-tokens", table, "-token-file", shared)
	quit(t, join(t, addr, "ada", "-token-file", ada))
	quit(t, join(t, addr, "bob", "-token-file", shared))
	for _, c := range []struct{ name, token, want string }{
		{"ada", shared, "wants another token"},
		{"bob", ada, "wants another token"},
		{"ADA", shared, "the name ADA looks like ada, which is reserved"},
		{"аda", shared, "the name аda looks like ada, which is reserved"},
	} {
		code, said := proc.Run(t, binary, "join", "-connect", addr, "-token-file", c.token, c.name)
		assert.Equal(t, 1, code, said)
		assert.Contains(t, said, c.want)
	}
	stop(t, s)
}

// A line that is too long is an error, and the other lines are said.
func TestLongLines(t *testing.T) {
	s, addr := serve(t)
	ada := join(t, addr, "ada")
	bob := start(t, addr, "bob")
	bob.Type("first\n" + strings.Repeat("x", 3000) + "\n" + strings.Repeat("y", 1<<20) + "\nlast without an end")
	bob.CloseInput()
	assert.Equal(t, 1, bob.Wait())
	bob.Expect(`(?m)^! line 2: a line of 3000 bytes is too long: at most 2000$`)
	bob.Expect(`(?m)^! line 3: a line of 1048576 bytes is too long: at most 2000$`)
	bob.Expect(`(?m)^chatroom join: not everything was said or done$`)
	ada.Expect(`(?m)^\* bob has left$`)
	assert.Contains(t, ada.Output(), "* bob has joined\n<bob> first\n<bob> last without an end\n* bob has left\n")
	stop(t, s)
}

// A client whose input is a pipe says its lines and leaves.
func TestPipe(t *testing.T) {
	const count = 500
	s, addr := serve(t, "-queue", "2000")
	ada := join(t, addr, "ada")
	bob := start(t, addr, "bob")
	var want strings.Builder
	for i := range count {
		bob.Type(fmt.Sprintf("line %d\n", i))
		fmt.Fprintf(&want, "<bob> line %d\n", i)
	}
	bob.CloseInput()
	assert.Zero(t, bob.Wait())
	ada.Expect(`\* bob has left\n`)
	assert.Contains(t, ada.Output(), "* bob has joined\n"+want.String()+"* bob has left\n")
	stop(t, s)
}

func TestTLS(t *testing.T) {
	cert, key := proc.Certificate(t)
	s, addr := serve(t, "-cert", cert, "-key", key)
	ada, bob := join(t, addr, "ada", "-ca", cert), join(t, addr, "bob", "-insecure")
	ada.Type("in secret\n")
	bob.Expect(`<ada> in secret\n`)
	code, said := proc.Run(t, binary, "join", "-connect", addr, "carol")
	assert.Equal(t, 1, code, "without TLS: %s", said)
	code, said = proc.Run(t, binary, "join", "-connect", addr, "-tls", "carol")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "certificate")
	stop(t, s)
}

func TestCommandLine(t *testing.T) {
	s, addr := serve(t)
	s.Kill()
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"-h", 0, "chatroom join"},
		{"serve -h", 0, "-history"},
		{"join -h", 0, "-connect"},
		{"", 2, "chatroom serve"},
		{"listen", 2, `no command "listen"`},
		{"join", 2, "one NAME"},
		{"join ada bob", 2, "one NAME"},
		{"join a/b", 2, `"a/b" is no name`},
		{"serve something", 2, `unexpected argument "something"`},
		{"serve -queue 50", 2, "-queue must be above -history"},
		{"serve -cert x", 2, "-cert and -key go together"},
		{"join -connect " + addr + " ada", 1, "connection refused"},
	} {
		code, said := proc.Run(t, binary, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "chatroom %s: %s", c.args, said)
		assert.Contains(t, said, c.text, "chatroom %s", c.args)
	}
}

// A server that gets a signal tells its clients, which wait for a new server.
func TestServerStopped(t *testing.T) {
	s, addr := serve(t)
	p := kit.NewProxy(t, addr)
	ada := join(t, p.Addr, "ada")
	stop(t, s)
	ada.Expect(`\* the server is stopping\n`)
	ada.Expect(`\* the connection is lost: making another\n`)
	s, addr = serve(t)
	p.SetTarget(addr)
	ada.Expect(`\* connected again\n`)
	ada.Type("/who\n")
	ada.Expect(`\* here: ada\n`)
	stop(t, ada)
	stop(t, s)
	require.NotContains(t, ada.Output(), "!")
}
