package protobuf_test

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/protobuf"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

// Greet is a method with messages of Protocol Buffers.
var Greet = typed.Method[*wrapperspb.StringValue, *wrapperspb.StringValue]{Name: "greet", Codec: protobuf.Codec}

// A client calls a method whose request and answer are messages of Protocol Buffers.
func Example() {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		end, err := l.AcceptEnd()
		if err != nil {
			return
		}
		Greet.Register(context.Background(), end, func(_ context.Context, name *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
			return wrapperspb.String("hello " + name.GetValue()), nil
		})
	}()

	opts := client.NewEndOptions()
	opts.SetWaitRemoteRPCs("greet")
	end, err := client.NewEnd("tcp", l.Addr().String(), opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end.Close()
	answer, err := Greet.Call(context.Background(), end, wrapperspb.String("you"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.GetValue())
	// Output: hello you
}
