package geminiotest_test

import (
	"context"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/geminiotest"
)

// greet is the handler under test.
func greet(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(append([]byte("hello, "), req.Data()...))
}

// testGreet needs a pair of Ends, which end with the test.
func testGreet(t *testing.T) {
	client, server := geminiotest.Pair(t)
	if err := server.Register(t.Context(), "greet", greet); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Call(t.Context(), "greet", client.NewRequest([]byte("Ada")))
	if err != nil {
		t.Fatal(err)
	}
	if string(resp.Data()) != "hello, Ada" {
		t.Errorf("greet returned %q", resp.Data())
	}
}

func ExamplePair() {
	_ = testing.InternalTest{Name: "TestGreet", F: testGreet} // go test finds it by its name TestGreet
}
