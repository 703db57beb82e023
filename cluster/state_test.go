package cluster

import (
	"context"
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
