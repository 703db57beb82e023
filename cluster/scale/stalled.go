package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

// What a node may hold of a stream whose reader stalls, in bytes.
const (
	linkWindow = 1 << 20   // received from the other node, and not passed on
	copyBuffer = 32 << 10  // between the two connections
	sendBuffer = 128 << 10 // written to the next connection, and not sent
	allowed    = linkWindow + copyBuffer + sendBuffer + ownMemory

	// ownMemory is what a node uses besides, such as for the direct connection and its TLS.
	ownMemory = 1 << 20
)

// runStream sends bytes over a stream through two nodes to a client that does not read for a while, and measures
// what the nodes hold meanwhile.
func runStream(ctx context.Context, out io.Writer, l load) error {
	d, err := deploy(ctx, l)
	if err != nil {
		return err
	}
	defer d.end()
	_, err = d.clients.do(order{Do: "connect", First: 1, N: 1})
	if err = errors.Join(err, d.settle(1)); err != nil {
		return err
	}
	at, err := d.clients.do(order{Do: "locate", First: 1})
	if err != nil {
		return err
	}
	near, far := d.nodes[0], d.nodes[1]
	for i, n := range d.nodes {
		if n.Addr == at.First {
			far, near = n, d.nodes[(i+1)%servers]
		}
	}
	var before [2]gauge.Usage
	for i, n := range []*process{near, far} {
		a, err := n.do(order{Do: "usage"})
		if err != nil {
			return err
		}
		before[i] = a.Usage
	}
	write := order{Do: "write", First: 1, Size: l.stream, Seed: 1}
	if _, err := near.do(write); err != nil {
		return err
	}
	begun, err := d.clients.do(order{Do: "accept", First: 1, Size: l.stream / 4})
	if err != nil {
		return err
	}
	written, err := d.still(near)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A stream of %d MiB through two nodes to a client, which stalls after %d MiB. The writer got rid of %.2f MiB more:\n\n",
		l.stream>>20, begun.Bytes>>20, float64(written-begun.Bytes)/(1<<20))
	fmt.Fprintf(out, "| node | more heap and stacks | more resident | allowed |\n| --- | --- | --- | --- |\n")
	for i, n := range []*process{near, far} {
		a, err := n.do(order{Do: "usage"})
		if err != nil {
			return err
		}
		u := a.Usage.Since(before[i])
		fmt.Fprintf(out, "| %s | %.2f MB | %.2f MB | %.2f MB |\n", []string{"of the writer", "of the client"}[i],
			gauge.Mega(u.Memory()), gauge.Mega(u.Resident), gauge.Mega(allowed))
		if u.Memory() > allowed {
			return fmt.Errorf("a node holds %d bytes of a stream, and not at most %d", u.Memory(), allowed)
		}
	}
	got, err := d.clients.do(order{Do: "read", N: 1000})
	if err != nil {
		return err
	}
	sent, err := near.do(order{Do: "written"})
	if err != nil {
		return err
	}
	if begun.Bytes+got.Bytes != l.stream || sent.Bytes != l.stream || !bytes.Equal(got.Sum, sent.Sum) || sent.Done != 1000 {
		return fmt.Errorf("the client has read %d bytes of %d that were written, and %d have come back after the end of the writer",
			begun.Bytes+got.Bytes, sent.Bytes, sent.Done)
	}
	fmt.Fprintf(out, "\nThen the client read all bytes, which had the same sum.\n\n")
	return nil
}

// still waits until the writer of the stream no longer makes progress, and returns what it has written.
func (d *deployment) still(near *process) (int64, error) {
	for last := int64(-1); ; time.Sleep(500 * time.Millisecond) {
		a, err := near.do(order{Do: "progress"})
		if err != nil || a.Bytes == last {
			return last, err
		}
		last = a.Bytes
	}
}
