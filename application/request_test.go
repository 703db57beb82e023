package application

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

func TestNewRequest(t *testing.T) {
	data := []byte("data")
	req := NewRequest(1, 2, 3, data, nil)
	assert.EqualValues(t, 1, req.ID(), "ID")
	assert.EqualValues(t, 2, req.ClientID(), "ClientID")
	assert.EqualValues(t, 3, req.StreamID(), "StreamID")
	assert.Empty(t, req.Method(), "Method before the call")
	assert.Zero(t, req.Timeout(), "Timeout")
	assert.Same(t, &data[0], &req.Data()[0], "Data is not copied")
	assert.Nil(t, req.Custom(), "Custom")

	first, second := options.NewRequest(), options.NewRequest()
	first.SetCustom([]byte("first"))
	second.SetCustom([]byte("second"))
	req = NewRequest(1, 2, 3, nil, []*options.NewRequestOptions{first, nil, second})
	assert.Equal(t, "second", string(req.Custom()), "Custom of the last options")
}

func TestRequestSetters(t *testing.T) {
	req := NewRequest(1, 2, 3, nil, nil)
	req.SetTimeout(time.Second)
	req.SetCustom([]byte("custom"))
	req.SetClientID(20)
	req.SetStreamID(30)
	assert.Equal(t, time.Second, req.Timeout())
	assert.Equal(t, "custom", string(req.Custom()))
	assert.EqualValues(t, 20, req.ClientID())
	assert.EqualValues(t, 30, req.StreamID())
}

func TestResponseSetters(t *testing.T) {
	var resp geminio.Response = &response{id: 1, method: "m"}
	failed := errors.New("failed")
	resp.SetData([]byte("data"))
	resp.SetError(failed)
	resp.SetCustom([]byte("custom"))
	resp.SetClientID(20)
	resp.SetStreamID(30)
	assert.EqualValues(t, 1, resp.ID())
	assert.Equal(t, "m", resp.Method())
	assert.Equal(t, "data", string(resp.Data()))
	assert.Equal(t, failed, resp.Error())
	assert.Equal(t, "custom", string(resp.Custom()))
	assert.EqualValues(t, 20, resp.ClientID())
	assert.EqualValues(t, 30, resp.StreamID())
}

// TestRequestsHaveIDs makes requests on an End and on a stream.
func TestRequestsHaveIDs(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		stream, _ := openPair(t, client, server)
		first, second := client.NewRequest(nil), stream.NewRequest(nil)
		assert.NotZero(t, first.ID())
		assert.NotEqual(t, first.ID(), second.ID())
		assert.EqualValues(t, 42, second.ClientID())
		assert.Equal(t, stream.StreamID(), second.StreamID())
	})
}
