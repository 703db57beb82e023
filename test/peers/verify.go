package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
)

// pattern is the source of all sent bytes. It is never changed.
var pattern = randomBytes(4 << 20)

func randomBytes(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	p := make([]byte, n)
	source.Read(p)
	return p
}

// slice returns n bytes of the pattern, which differ for each i.
func slice(i, n int) []byte {
	at := i * 257 % (len(pattern) - n)
	return pattern[at : at+n : at+n]
}

// answers returns a function that makes answers of a size: the request itself, or bytes
// that the request's first byte selects.
func answers(size int) func([]byte) []byte {
	if size == callSize {
		return func(request []byte) []byte { return request }
	}
	return func(request []byte) []byte { return slice(int(request[0]), size) }
}

// tries is the number of verified operations of each goroutine.
const tries = 4

// together runs f for 0 to n-1 at the same time.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { errs[i] = f(i) })
	}
	if err := waitFor(&running); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// verifyCalls lets all callers call at the same time and compares each answer.
func verifyCalls(all []call, answer func([]byte) []byte) error {
	return together(len(all), func(i int) error {
		for k := range tries {
			request := slice(i*tries+k, callSize)
			got, err := all[i](request)
			if err != nil {
				return fmt.Errorf("call: %w", err)
			}
			if !bytes.Equal(got, answer(request)) {
				return fmt.Errorf("the answer to a call is %w", errUnexpected)
			}
		}
		return nil
	})
}

// receiver is the server's side of messages. It keeps them while they are
// verified, and drops them afterwards.
type receiver struct {
	mu      sync.Mutex
	keeping bool
	kept    map[string]int
}

func (r *receiver) receive(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keeping {
		r.kept[string(data)]++
	}
}

// verify lets all publishers publish at the same time and checks that each message has
// arrived once and unchanged.
func (r *receiver) verify(l link, all []publish) error {
	r.mu.Lock()
	r.keeping, r.kept = true, map[string]int{}
	r.mu.Unlock()
	err := together(len(all), func(i int) error {
		for k := range tries {
			if err := all[i](slice(i*tries+k, messageSize)); err != nil {
				return fmt.Errorf("message: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s, ok := l.(storing); ok {
		messages, err := s.stored()
		if err != nil {
			return err
		}
		for _, data := range messages {
			r.receive(data)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keeping = false
	for i := range len(all) * tries {
		if n := r.kept[string(slice(i, messageSize))]; n != 1 {
			return fmt.Errorf("message %d has come %d times", i, n)
		}
	}
	if n := len(r.kept); n != len(all)*tries {
		return fmt.Errorf("%d different messages have come of %d", n, len(all)*tries)
	}
	return nil
}

// verifyStream writes to one side in pieces of size and compares the bytes that the other
// side reads.
func verifyStream(w io.Writer, r io.Reader, size int) error {
	total := min(256*size, len(pattern)/size*size)
	return together(2, func(i int) error {
		if i == 0 {
			for at := 0; at < total; at += size {
				if _, err := w.Write(pattern[at : at+size]); err != nil {
					return fmt.Errorf("write: %w", err)
				}
			}
			return nil
		}
		got := make([]byte, total)
		if _, err := io.ReadFull(r, got); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if !bytes.Equal(got, pattern[:total]) {
			return fmt.Errorf("what is read is %w", errUnexpected)
		}
		return nil
	})
}
