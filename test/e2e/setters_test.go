package e2e

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// setters are the setters of numbers, with the names of their settings in errors.
var setters = map[string][]string{
	"SetAcceptBacklog":    {"AcceptBacklog"},
	"SetBufferSize":       {"ReadBufferSize", "WriteBufferSize"},
	"SetClientID":         {"ClientID"},
	"SetConnectWait":      {"ConnectWait"},
	"SetDrainTimeout":     {"DrainTimeout"},
	"SetDuplicateID":      {"DuplicateID"},
	"SetHandshakeTimeout": {"HandshakeTimeout"},
	"SetHeartbeat":        {"Heartbeat"},
	"SetLinger":           {"Linger"},
	"SetMaxHandlerBytes":  {"MaxHandlerBytes"},
	"SetMaxHandlers":      {"MaxHandlers"},
	"SetMaxMessageSize":   {"MaxMessageSize"},
	"SetMaxMetadataSize":  {"MaxMetadataSize"},
	"SetMaxRetryAfter":    {"MaxRetryAfter"},
	"SetMaxStreams":       {"MaxStreams"},
	"SetMaxWaiting":       {"MaxWaiting", "MaxWaitingBytes"},
	"SetMemoryBudget":     {"MemoryBudget"},
	"SetResumeBuffer":     {"ResumeBuffer"},
	"SetResumeKeep":       {"ResumeKeep"},
	"SetResumeLimits":     {"ResumeSessions", "ResumeBytes"},
	"SetRetryAfter":       {"RetryAfter"},
	"SetRetryBackoff":     {"RetryMin", "RetryMax"},
	"SetSessionKeep":      {"SessionKeep"},
}

// Negative numbers and the largest numbers are errors, except for these setters.
var (
	negativeIsUnset = []string{"SetBufferSize"} // as in the earlier library
	largestIsFine   = []string{"SetClientID", "SetMaxWaiting", "SetMemoryBudget", "SetResumeLimits", "SetSessionKeep"}
)

// Each setter of numbers, at both ends of its range and beyond: either the constructor
// returns an error that names the setting, its value and the range, or the End works.
func TestSettersAtTheEndsOfTheirRanges(t *testing.T) {
	for side, opt := range map[string]any{"client": client.NewEndOptions(), "server": server.NewEndOptions()} {
		typ := reflect.TypeOf(opt)
		for i := range typ.NumMethod() {
			setter := typ.Method(i)
			if !strings.HasPrefix(setter.Name, "Set") || !takesNumbers(setter.Type) {
				continue
			}
			require.Contains(t, setters, setter.Name, "a setter that this test does not know")
			for param := 1; param < setter.Type.NumIn(); param++ {
				for _, value := range extremes(setter.Type.In(param)) {
					t.Run(fmt.Sprintf("%s %s %s %v", side, setter.Name, setters[setter.Name][param-1], value), func(t *testing.T) {
						args := []reflect.Value{reflect.New(typ.Elem())}
						for p := 1; p < setter.Type.NumIn(); p++ {
							args = append(args, reflect.Zero(setter.Type.In(p)))
						}
						args[param] = value
						setter.Func.Call(args)
						err := works(t, args[0].Interface())
						negative := value.CanInt() && value.Int() < 0
						largest := value.CanInt() && value.Int() == math.MaxInt64
						switch {
						case err != nil:
							assert.ErrorContains(t, err, "options: ")
							assert.ErrorContains(t, err, fmt.Sprintf("%s of %v", setters[setter.Name][param-1], value))
							assert.Regexp(t, "is not between|need|more than", err.Error())
						case negative:
							assert.Contains(t, negativeIsUnset, setter.Name, "a negative number")
						case largest:
							assert.Contains(t, largestIsFine, setter.Name, "the largest number")
						}
						if value.IsZero() {
							assert.NoError(t, err, "the default")
						}
					})
				}
			}
		}
	}
}

// takesNumbers reports whether all parameters of a method are numbers.
func takesNumbers(method reflect.Type) bool {
	for p := 1; p < method.NumIn(); p++ {
		if !slices.Contains([]reflect.Kind{reflect.Int, reflect.Int64, reflect.Uint64}, method.In(p).Kind()) {
			return false
		}
	}
	return method.NumIn() > 1
}

// extremes returns numbers of a type, the largest one first.
func extremes(typ reflect.Type) (all []reflect.Value) {
	add := func(v any) { all = append(all, reflect.ValueOf(v).Convert(typ)) }
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		for _, d := range []time.Duration{math.MaxInt64, math.MaxInt64 / 2, 1 << 40, time.Microsecond, 1, 0, -1, math.MinInt64} {
			add(d)
		}
	case typ.Kind() == reflect.Uint64:
		for _, n := range []uint64{math.MaxUint64, math.MaxInt64, 1, 0} {
			add(n)
		}
	default:
		for _, n := range []int{math.MaxInt, math.MaxInt - 1, math.MaxInt32, math.MaxInt/4096 + 1, 1, 0, -1, math.MinInt} {
			add(n)
		}
	}
	return all
}

// works makes a pair of Ends with options of one side, and does operations of all kinds.
func works(t *testing.T, opt any) (err error) {
	synctest.Test(t, func(t *testing.T) {
		echo := server.NewEndOptions()
		echo.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "e", RPC: rig.Echo})
		sopt, _ := opt.(*server.EndOptions)
		copt, _ := opt.(*client.EndOptions)
		var far geminio.End
		var serverErr error
		dialer := func() (net.Conn, error) {
			a, b := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				far, serverErr = server.NewEndWithConn(b, echo, sopt)
			}()
			if synctest.Wait(); serverErr != nil {
				return nil, serverErr
			}
			t.Cleanup(func() { <-done })
			return a, nil
		}
		var near geminio.End
		if near, err = client.NewRetryEndWithDialer(dialer, copt); err != nil {
			return
		}
		defer near.Close()
		synctest.Wait()
		require.NoError(t, serverErr)
		defer far.Close()
		kit.Within(t, time.Hour, "everything", func() {
			_, err := near.Write([]byte("hello"))
			assert.NoError(t, err)
			got := make([]byte, 5)
			_, err = io.ReadFull(far, got)
			assert.NoError(t, err)
			assert.Equal(t, "hello", string(got))
			_, err = near.Call(context.Background(), "e", near.NewRequest(nil))
			assert.NoError(t, err)
			go rig.AnswerAll(far)
			assert.NoError(t, near.Publish(context.Background(), near.NewMessage(nil)))
			stream, err := near.OpenStream()
			if assert.NoError(t, err) {
				stream.Close()
			}
		})
	})
	return err
}
