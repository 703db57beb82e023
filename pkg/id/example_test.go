package id_test

import (
	"fmt"

	"github.com/singchia/geminio/pkg/id"
)

// A side that counts Even and one that counts Odd never collide.
func ExampleNewIDCounter() {
	even, odd := id.NewIDCounter(id.Even), id.NewIDCounter(id.Odd)
	first := even.GetID()
	fmt.Println(even.GetID()-first, even.GetID()-first, first%2)
	fmt.Println(odd.GetID() % 2)
	// Output:
	// 2 4 0
	// 1
}

// Unique gives the smallest number that is in no use.
func ExampleIDCounter_DelID() {
	counter := id.NewIDCounter(id.Unique)
	counter.ReserveID(2) // in use elsewhere
	fmt.Println(counter.GetID(), counter.GetID(), counter.GetID())
	counter.DelID(3)
	fmt.Println(counter.GetID(), counter.GetID())
	// Output:
	// 1 3 4
	// 3 5
}

// tenants numbers things by rules of its own, for which IDFactory is made.
type tenants struct {
	*id.IDCounter
	known map[string]uint64
}

func (t tenants) GetIDByMeta(meta []byte) (uint64, error) {
	if number := t.known[string(meta)]; number != 0 {
		return number, nil
	}
	return 0, fmt.Errorf("no such tenant: %q", meta)
}

// An IDFactory of your own may be a counter with one method replaced.
func ExampleIDFactory() {
	var factory id.IDFactory = tenants{id.NewIDCounter(id.Inc), map[string]uint64{"Ada": 7}}
	defer factory.Close()
	fmt.Println(factory.GetIDByMeta([]byte("Ada")))
	fmt.Println(factory.GetIDByMeta([]byte("Bob")))
	// Output:
	// 7 <nil>
	// 0 no such tenant: "Bob"
}
