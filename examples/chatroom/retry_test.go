package main

// Tests with killed processes and broken connections.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// When a client is killed, the others see that it leaves, and its name is free.
func TestClientKilled(t *testing.T) {
	s, addr := serve(t)
	ada, bob := join(t, addr, "ada"), join(t, addr, "bob")
	ada.Type("last words\n")
	bob.Expect(`<ada> last words\n`)
	ada.Kill()
	bob.Expect(`\* ada has left \(connection lost\)\n`)
	ada = join(t, addr, "ada")
	bob.Expect(`(?s)has left.*\* ada has joined\n`)
	ada.Type("here again\n")
	bob.Expect(`<ada> here again\n`)
	stop(t, s)
}

// A server is killed and replaced by another one. The clients reconnect with their names, and
// say the lines that were typed meanwhile.
func TestServerKilled(t *testing.T) {
	s, addr := serve(t)
	p := kit.NewProxy(t, addr)
	ada, bob := join(t, p.Addr, "ada"), join(t, p.Addr, "bob")
	ada.Type("before\n")
	bob.Expect(`<ada> before\n`)
	s.Kill()
	ada.Expect(`\* the connection is lost: making another\n`)
	bob.Expect(`\* the connection is lost: making another\n`)
	ada.Type("meanwhile\n")

	s, addr = serve(t)
	p.SetTarget(addr)
	for _, p := range []*proc.Process{ada, bob} { // in any order with the lines of the room
		p.Expect(`connected again\n`)
	}
	bob.Expect(`(?s)making another.*<ada> meanwhile\n`)
	ada.Expect(`(?s)making another.*\* you are ada; `)
	bob.Type("/who\n")
	bob.Expect(`\* here: ada, bob\n`)
	bob.Type("after\n")
	ada.Expect(`<bob> after\n`)
	assert.Equal(t, 1, strings.Count(bob.Output(), "meanwhile"), "said once")
	quit(t, ada)
	bob.Expect(`\* ada has left\n`)
	stop(t, s)
}

// A client reconnects while the server still has its old connection and has not noticed that
// it is dead. The client gets its name, and no other client gets it.
func TestComeBackBeforeNoticed(t *testing.T) {
	s, addr := serve(t, "-heartbeat", "1h") // the server does not notice the loss
	p := kit.NewProxy(t, addr)
	ada, bob := join(t, p.Addr, "ada"), join(t, addr, "bob")
	ada.Type("one\n")
	bob.Expect(`<ada> one\n`)
	p.SetTarget("")
	require.Equal(t, 1, p.CutNear(), "connections")
	ada.Expect(`\* the connection is lost: making another\n`)

	bob.Type("two\n")
	bob.Type("/who\n")
	bob.Expect(`\* here: ada, bob\n`) // the server still has ada as a member
	code, said := proc.Run(t, binary, "join", "-connect", addr, "ada")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "the name ada is taken")

	p.SetTarget(addr)
	ada.Expect(`\* connected again\n`)
	ada.Expect(`<bob> two\n`) // ada has missed nothing
	ada.Type("three\n")
	bob.Expect(`(?s)\* ada has left \(connection lost\)\n\* ada has joined\n.*<ada> three\n`)
	assert.NotContains(t, ada.Output(), "<ada>", "her own lines do not come back")
	assert.Equal(t, 1, strings.Count(ada.Output(), "two"), "no line comes twice")
	assert.Equal(t, 1, strings.Count(ada.Output(), "you are ada"), "the greeting comes once, so the room is the same")
	stop(t, s)
}

// A client whose connection breaks many times misses no line and says none twice.
func TestConnectionCut(t *testing.T) {
	const rounds, each = 5, 20
	s, addr := serve(t, "-history", "200")
	p := kit.NewProxy(t, addr)
	ada, bob := join(t, p.Addr, "ada"), join(t, addr, "bob")
	for i := range rounds {
		for j := range each {
			n := i*each + j
			ada.Type(fmt.Sprintf("line %d\n", n))
			bob.Type(fmt.Sprintf("answer %d\n", n))
			if j == each/2 { // later lines may be under way
				ada.Expect(fmt.Sprintf(`<bob> answer %d\n`, n))
				bob.Expect(fmt.Sprintf(`<ada> line %d\n`, n))
			}
		}
		require.Equal(t, 1, p.Cut(), "connections")
		ada.Expect(fmt.Sprintf(`(?s)(connected again.*){%d}`, i+1))
	}
	ada.Type("the end\n")
	bob.Expect(`<ada> the end\n`)
	bob.Type("the end\n")
	ada.Expect(`<bob> the end\n`)
	for name, c := range map[string]struct{ p, said string }{
		"bob heard": {bob.Output(), "<ada> line "},
		"ada heard": {ada.Output(), "<bob> answer "},
	} {
		var want, got []string
		for i := range rounds * each {
			want = append(want, fmt.Sprint(c.said, i))
		}
		for line := range strings.Lines(c.p) {
			if strings.HasPrefix(line, c.said) {
				got = append(got, strings.TrimSuffix(line, "\n"))
			}
		}
		assert.Equal(t, want, got, name)
	}
	stop(t, s)
}

// A client that is disconnected while another client takes its name is refused, with a text.
func TestNameTakenMeanwhile(t *testing.T) {
	s, addr := serve(t)
	p := kit.NewProxy(t, addr)
	ada := join(t, p.Addr, "ada")
	bob := join(t, addr, "bob")
	p.SetTarget("")
	require.Equal(t, 1, p.Cut(), "connections")
	bob.Expect(`\* ada has left`)
	other := join(t, addr, "ada")
	ada.Type("is this me?\n")
	p.SetTarget(addr)
	assert.Equal(t, 1, ada.Wait())
	ada.Expect(`chatroom join: .*the name ada is taken\n`)
	other.Type("now it is me\n")
	bob.Expect(`<ada> now it is me\n`)
	assert.NotContains(t, bob.Output(), "is this me?")
	stop(t, s)
}
