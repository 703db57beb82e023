package protobuf

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/typed"
)

// A typed method carries messages, and both a nil request and an error of the handler work.
func TestMethod(t *testing.T) {
	double := typed.Method[*wrapperspb.Int64Value, *structpb.Value]{Name: "double", Codec: Codec}
	c, s := geminiotest.Pair(t)
	require.NoError(t, double.Register(t.Context(), s, func(_ context.Context, in *wrapperspb.Int64Value) (*structpb.Value, error) {
		if in.GetValue() < 0 {
			return nil, errors.New("negative")
		}
		return structpb.NewNumberValue(float64(2 * in.GetValue())), nil
	}))
	out, err := double.Call(t.Context(), c, wrapperspb.Int64(21))
	require.NoError(t, err)
	require.EqualValues(t, 42, out.GetNumberValue())
	out, err = double.Call(t.Context(), c, nil)
	require.NoError(t, err)
	require.Zero(t, out.GetNumberValue())
	_, err = double.Call(t.Context(), c, wrapperspb.Int64(-1))
	require.ErrorContains(t, err, "negative")
}

// Data that is no message, and a codec of another name, are errors of the call.
func TestErrors(t *testing.T) {
	c, s := geminiotest.Pair(t)
	method := typed.Method[*wrapperspb.Int64Value, *wrapperspb.Int64Value]{Name: "m", Codec: Codec}
	require.NoError(t, method.Register(t.Context(), s, func(_ context.Context, in *wrapperspb.Int64Value) (*wrapperspb.Int64Value, error) {
		return in, nil
	}))
	other := typed.Method[int, int]{Name: "m"}
	_, err := other.Call(t.Context(), c, 1)
	var remote *geminio.RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, geminio.CodeInvalid, remote.Code)

	require.Error(t, Codec.Unmarshal([]byte{0xff}, &wrapperspb.Int64Value{}))
	for _, v := range []any{1, "text", new(int), (*int)(nil), new(*int), nil} {
		_, err := Codec.Append(nil, v)
		require.ErrorContains(t, err, "is not a proto.Message")
		require.ErrorContains(t, Codec.Unmarshal(nil, v), "is not a proto.Message")
	}
}

// Append appends, and Unmarshal does not keep the data.
func TestBuffers(t *testing.T) {
	b, err := Codec.Append([]byte("before"), wrapperspb.Bytes([]byte("data")))
	require.NoError(t, err)
	require.Equal(t, "before", string(b[:6]))
	var m *wrapperspb.BytesValue
	require.NoError(t, Codec.Unmarshal(b[6:], &m))
	clear(b)
	require.Equal(t, "data", string(m.GetValue()))
}
