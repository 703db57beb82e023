package typed_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/typed"
)

// question and answer are the types of the tests.
type question struct {
	Text string `json:"text"`
	N    int    `json:"n,omitempty"`
}

type answer struct {
	Text string `json:"text"`
	N    int    `json:"n,omitempty"`
}

// reversed is a codec with another name. Its bytes are those of JSON in reverse order.
type reversed struct{}

func (reversed) Name() string { return "reversed" }

func (reversed) Append(b []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(b, reverse(data)...), err
}

func (reversed) Unmarshal(data []byte, v any) error { return json.Unmarshal(reverse(data), v) }

func reverse(p []byte) []byte {
	q := make([]byte, len(p))
	for i, b := range p {
		q[len(p)-1-i] = b
	}
	return q
}

const codeQuota = geminio.FirstApplicationCode + 7

// quotaError is a geminio.Coder.
type quotaError struct{}

func (quotaError) Error() string      { return "over the quota" }
func (quotaError) Code() geminio.Code { return codeQuota }

// inPair runs a test with a pair of Ends in a bubble.
func inPair(t *testing.T, test func(t *testing.T, client, server geminio.End), opts ...*geminiotest.PairOptions) {
	synctest.Test(t, func(t *testing.T) {
		client, server := geminiotest.Pair(t, opts...)
		test(t, client, server)
	})
}

// requireCode requires that err is an error of the peer with a code.
func requireCode(t *testing.T, err error, code geminio.Code, text string) {
	t.Helper()
	var remote *geminio.RemoteError
	require.ErrorAs(t, err, &remote)
	assert.Equal(t, code, remote.Code)
	assert.Contains(t, remote.Text, text)
}

// requireData requires that err is an error of this side's codec.
func requireData(t *testing.T, err error, text string) {
	t.Helper()
	var data *typed.DataError
	require.ErrorAs(t, err, &data)
	assert.Contains(t, err.Error(), text)
	var coder geminio.Coder
	require.True(t, errors.As(err, &coder))
	assert.Equal(t, geminio.CodeInvalid, coder.Code())
}
