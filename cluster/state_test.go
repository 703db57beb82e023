package cluster

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// flapping is an End whose state a test sets.
type flapping struct {
	geminio.End
	state geminio.EndState
}

// Snapshot implements geminio.Snapshotter.
func (f *flapping) Snapshot() geminio.EndSnapshot { return geminio.EndSnapshot{State: f.state} }

// TestAnInterruptionThatEndsIsNotWritten interrupts a client that is back when its state is checked. The
// Node has no bucket, so a write would fail.
func TestAnInterruptionThatEndsIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{id: "a", view: newView(), ctx: context.Background()}
		n.registrar = newRegistrar(n)
		end := &flapping{state: geminio.EndConnected}
		c := &local{end: end, gen: 5}
		n.locals.clients = map[uint64]*local{7: c}
		n.view.setNode(&peer{id: "a"})
		n.view.setClient(7, record{node: "a", rev: 5})
		for range 10 { // it comes and goes
			end.state = geminio.EndInterrupted
			n.noteState(7, c)
			time.Sleep(stateDelay / 40)
			end.state = geminio.EndConnected
			n.noteState(7, c)
			time.Sleep(stateDelay / 40)
		}
		assert.Zero(t, n.registrar.length(), "nothing is checked before the delay")
		time.Sleep(stateDelay)
		tasks := n.registrar.take()
		require.Len(t, tasks, 1, "one check for all changes")
		require.NoError(t, n.registrar.begin(tasks[0]))
		assert.Nil(t, tasks[0].future, "nothing is written")

		n.noteState(7, c)
		time.Sleep(stateDelay)
		synctest.Wait()
		assert.Len(t, n.registrar.take(), 1, "a later change is checked again")
	})
}

// replaced is an End that counts its replacements.
type replaced struct {
	flapping
	times int
}

// ClientID implements geminio.End.
func (r *replaced) ClientID() uint64 { return 7 }

// Replace is that of an End of package server.
func (r *replaced) Replace() { r.times++ }

// TestTheLaterConnectionRemains delays the write of an entry, as a long queue does, until another node has
// written one.
func TestTheLaterConnectionRemains(t *testing.T) {
	for name, c := range map[string]struct {
		known  bool // the entry of the other node was known when the connection was attached
		later  time.Duration
		yields bool
	}{
		"attached later":          {later: time.Hour, yields: true},
		"attached earlier":        {later: -time.Hour},
		"a clock that is ahead":   {known: true, later: time.Hour},
		"attached earlier, known": {known: true, later: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			n := &Node{id: "a", view: newView(), ctx: ctx, ready: true}
			n.opt.Logger = slog.New(slog.DiscardHandler)
			n.registrar, n.deliveries = newRegistrar(n), newDeliveries(n)
			n.locals.clients = make(map[uint64]*local)
			n.view.setNode(&peer{id: "a"})
			n.view.setNode(&peer{id: "b"})
			other := func() { n.view.setClient(7, record{node: "b", rev: 9, since: time.Now().Add(c.later)}) }
			if c.known {
				other()
			}
			end := &replaced{}
			require.NoError(t, n.Attach(end))
			other()
			r, _ := n.view.client(7)
			require.Equal(t, c.yields, n.locals.clients[7].yields(r))
			if c.yields {
				task := n.registrar.take()[0]
				require.NoError(t, n.registrar.begin(task))
				assert.Nil(t, task.future, "nothing is written")
				assert.Equal(t, 1, end.times)
				assert.Zero(t, n.locals.count())
			}
			cancel()
			n.running.Wait()
		})
	}
}

func TestEntriesOfClients(t *testing.T) {
	for value, want := range map[string]record{
		"a 5 0":   {node: "a", since: time.UnixMilli(5)},
		"a 5 1":   {node: "a", since: time.UnixMilli(5), state: ClientInterrupted},
		"a 5":     {},
		"a 5 x":   {},
		"a 5 256": {},
		"a x 0":   {},
		". 5 0":   {},
		"":        {},
	} {
		assert.Equal(t, want, newRecord([]byte(value), true, 0, time.Time{}), "%q", value)
		assert.Zero(t, newRecord([]byte(value), false, 0, time.Time{}))
	}
	assert.Equal(t, "online interrupted unknown", ClientOnline.String()+" "+ClientInterrupted.String()+" "+ClientState(2).String())
}
