package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batch is the number of writes that are under way at a time: as many as a node has.
const batch = 256

// runBucket measures NATS without nodes: how fast a bucket stores entries of clients and delivers them to
// watches, and how fast a new watch reads all.
func runBucket(ctx context.Context, out io.Writer, l load) error {
	d, err := deploy(ctx, l)
	if err != nil {
		return err
	}
	defer d.end()
	fmt.Fprintf(out, "%d entries of 36 B in a bucket of three NATS servers, written without nodes:\n\n", l.entries)
	fmt.Fprintf(out, "| replicas | watches | under way | writes a second | deliveries a second | read anew, entries a second | stored, bytes for each entry | memory of each NATS server, bytes for each entry |\n")
	fmt.Fprintf(out, "| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, m := range []measurement{{1, 0, batch}, {3, 0, batch}, {3, 3, batch}, {3, 0, 1}} {
		if err := m.run(d, out, l.entries); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out)
	return err
}

// measurement is a row of the table.
type measurement struct{ replicas, watches, underWay int }

// run writes entries to a bucket of its own.
func (m measurement) run(d *deployment, out io.Writer, entries int) error {
	if m.underWay == 1 {
		entries /= 20
	}
	js, err := jetstream.New(d.nc, jetstream.WithPublishAsyncMaxPending(m.underWay))
	if err != nil {
		return err
	}
	before, err := d.natsMemory()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("measured-%d-%d-%d", m.replicas, m.watches, m.underWay)
	kv, err := js.CreateKeyValue(d.ctx, jetstream.KeyValueConfig{Bucket: name, Replicas: m.replicas})
	if err != nil {
		return err
	}
	var delivered atomic.Int64 // each watch also gets a nil at its beginning
	for i := range m.watches {
		nc, err := nats.Connect(d.nats[i%servers].Addr)
		if err != nil {
			return err
		}
		defer nc.Close()
		w, err := watch(d.ctx, nc, name)
		if err != nil {
			return err
		}
		defer w.Stop()
		go func() {
			for range w.Updates() {
				delivered.Add(1)
			}
		}()
	}
	begin := time.Now()
	if err := put(d.ctx, js, name, entries, m.underWay); err != nil {
		return err
	}
	wrote := time.Since(begin)
	for delivered.Load() < int64(m.watches*(entries+1)) {
		time.Sleep(time.Millisecond)
		if time.Since(begin) > patience {
			return errors.New("a watch has not got all entries")
		}
	}
	all := time.Since(begin)
	begin = time.Now()
	w, err := kv.WatchAll(d.ctx)
	if err != nil {
		return err
	}
	for e := range w.Updates() {
		if e == nil {
			break
		}
	}
	read := time.Since(begin)
	w.Stop()
	s, err := js.Stream(d.ctx, "KV_"+name)
	if err != nil {
		return err
	}
	after, err := d.natsMemory()
	if err != nil {
		return err
	}
	stored := s.CachedInfo().State
	memory := "–" // of few entries
	if m.underWay > 1 {
		memory = strconv.FormatInt((after-before)/int64(servers*entries), 10)
	}
	fmt.Fprintf(out, "| %d | %d | %d | %.0f | %.0f | %.0f | %d | %s |\n", m.replicas, m.watches, m.underWay, float64(entries)/wrote.Seconds(),
		float64(m.watches*entries)/all.Seconds(), float64(entries)/read.Seconds(), stored.Bytes/stored.Msgs, memory)
	return js.DeleteKeyValue(d.ctx, name)
}

// natsMemory returns the heap and stacks of all NATS servers.
func (d *deployment) natsMemory() (sum int64, err error) {
	for _, p := range d.nats {
		a, err := p.do(order{Do: "usage"})
		if err != nil {
			return 0, err
		}
		sum += a.Usage.Memory()
	}
	return sum, nil
}

// watch watches a bucket.
func watch(ctx context.Context, nc *nats.Conn, bucket string) (jetstream.KeyWatcher, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, err
	}
	return kv.WatchAll(ctx)
}

// put writes entries as a node does.
func put(ctx context.Context, js jetstream.JetStream, bucket string, entries, underWay int) error {
	futures := make([]jetstream.PubAckFuture, 0, underWay)
	for i := range entries {
		m := &nats.Msg{Subject: "$KV." + bucket + ".c." + strconv.Itoa(i), Data: []byte("aaaaaaaaaaaaaaaaaaaaaa 1700000000000")}
		f, err := js.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(0))
		if err != nil {
			return err
		}
		if futures = append(futures, f); len(futures) < underWay && i < entries-1 {
			continue
		}
		for _, f := range futures {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		futures = futures[:0]
	}
	return nil
}
