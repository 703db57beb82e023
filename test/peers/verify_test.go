package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// checkXML fails if text is not well formed.
func checkXML(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

// The verification detects a peer that changes a byte of an answer.
func TestWrongAnswer(t *testing.T) {
	right := func(request []byte) ([]byte, error) { return request, nil }
	wrong := func(request []byte) ([]byte, error) {
		answer := bytes.Clone(request)
		answer[200] ^= 1
		return answer, nil
	}
	if err := verifyCalls([]call{right, right}, answers(callSize)); err != nil {
		t.Errorf("right answers: %v", err)
	}
	if err := verifyCalls([]call{right, wrong}, answers(callSize)); !errors.Is(err, errUnexpected) {
		t.Errorf("a wrong answer: %v", err)
	}
}

// The verification detects a peer that loses, repeats or changes a message.
func TestWrongMessage(t *testing.T) {
	for name, c := range map[string]struct {
		receive func(*receiver, []byte)
		ok      bool
	}{
		"right": {func(r *receiver, p []byte) { r.receive(p) }, true},
		"lost":  {func(*receiver, []byte) {}, false},
		"twice": {func(r *receiver, p []byte) { r.receive(p); r.receive(p) }, false},
		"cut":   {func(r *receiver, p []byte) { r.receive(p[1:]) }, false},
		"more":  {func(r *receiver, p []byte) { r.receive(p); r.receive(p[1:]) }, false},
	} {
		var r receiver
		p := func(data []byte) error {
			c.receive(&r, data)
			return nil
		}
		if err := r.verify(&rawLink{}, []publish{p, p}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The verification detects a stream that changes a byte.
func TestWrongBytes(t *testing.T) {
	for _, at := range []int{-1, 0, 100_000} {
		r, w := io.Pipe()
		err := verifyStream(&flipper{w: w, at: at}, r, bulkWrite)
		if (at >= 0) != errors.Is(err, errUnexpected) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
}

// flipper changes the byte at a position.
type flipper struct {
	w       io.Writer
	at, now int
}

func (f *flipper) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	if i := f.at - f.now; i >= 0 && i < len(q) {
		q[i] ^= 1
	}
	f.now += len(p)
	return f.w.Write(q)
}
