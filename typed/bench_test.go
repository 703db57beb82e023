package typed_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/rig"
	"github.com/singchia/geminio/typed"
)

// record is a request or response of common size.
type record struct {
	ID     uint64            `json:"id"`
	Name   string            `json:"name"`
	Tags   []string          `json:"tags"`
	Labels map[string]string `json:"labels"`
	Values []float64         `json:"values"`
}

var sample = record{
	ID: 1 << 40, Name: "device-17", Tags: []string{"edge", "eu", "canary"},
	Labels: map[string]string{"model": "a7", "site": "berlin", "owner": "fleet"},
	Values: []float64{1.5, 2.25, 3.125, 4.0625, 5.5, 6.75},
}

var copyRecord = typed.Method[record, record]{Name: "typed"}

// BenchmarkCall compares a typed call with a call of the same bytes, and with the JSON work of a
// call: two values are encoded, and two are decoded.
func BenchmarkCall(b *testing.B) {
	p := rig.NewPair(b, "tcp", nil, nil)
	ctx := context.Background()
	data, err := json.Marshal(sample)
	if err != nil {
		b.Fatal(err)
	}
	if err := copyRecord.Register(ctx, p.Server, func(_ context.Context, r record) (record, error) { return r, nil }); err != nil {
		b.Fatal(err)
	}
	if err := p.Server.Register(ctx, "bytes", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData(data) }); err != nil {
		b.Fatal(err)
	}
	b.Run("typed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := copyRecord.Call(ctx, p.Client, sample); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bytes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Client.Call(ctx, "bytes", p.Client.NewRequest(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSON", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for range 2 {
				data, err := json.Marshal(sample)
				if err != nil {
					b.Fatal(err)
				}
				var r record
				if err := json.Unmarshal(data, &r); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkItems measures items of 1 KB in a server stream.
func BenchmarkItems(b *testing.B) {
	p := rig.NewPair(b, "tcp", nil, nil)
	var s typed.Server
	items := typed.ServerStreaming[struct{}, string]{Name: "items"}
	text := strings.Repeat("x", 1<<10)
	items.Register(&s, func(_ context.Context, _ struct{}, out *typed.Sender[string]) (err error) {
		for err == nil {
			err = out.Send(text)
		}
		return err
	})
	go s.Serve(p.Server, nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	n := 0
	for _, err := range items.Call(context.Background(), p.Client, struct{}{}) {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n >= b.N {
			break
		}
	}
}
