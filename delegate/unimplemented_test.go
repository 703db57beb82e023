package delegate

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

// picky is what users write: an embedded pointer, here nil, and one method of
// their own.
type picky struct {
	*UnimplementedDelegate
}

func (picky) ConnOnline(ConnDescriber) error { return errors.New("not today") }

var (
	_ ClientDelegate = picky{}
	_ ServerDelegate = picky{}
)

func TestUnimplementedDelegate(t *testing.T) {
	for name, d := range map[string]Delegate{
		"value":        &UnimplementedDelegate{},
		"nil embedded": struct{ *UnimplementedDelegate }{},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NoError(t, d.ConnOnline(nil))
			assert.NoError(t, d.ConnOffline(nil))
			assert.NoError(t, d.Heartbeat(nil))
			assert.NoError(t, d.DialogueOnline(nil))
			assert.NoError(t, d.DialogueOffline(nil))
			d.RemoteRegistration("method", 1, 1)
			d.EndReOnline(nil)

			chosen, err := d.GetClientID(7, []byte("meta"))
			assert.NoError(t, err)
			assert.Zero(t, chosen, "the choice is the library's, whatever the client wants")
		})
	}
}

func TestOwnMethodGoesBeforeEmbedded(t *testing.T) {
	assert.EqualError(t, ClientDelegate(picky{}).ConnOnline(nil), "not today")
	assert.NoError(t, ClientDelegate(picky{}).ConnOffline(nil))
}
