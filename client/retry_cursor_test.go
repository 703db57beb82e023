package client

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCursorFollows(t *testing.T) {
	first, second, third := new(link), new(link), new(link)
	var c cursor
	c.follow(nil, first)
	assert.Same(t, first, c.at, "a cursor that waits moves to the new connection")
	c.follow(first, second)
	assert.Same(t, first, c.at, "a cursor stays with the connection before")
	c.follow(second, third)
	assert.Same(t, second, c.at, "a cursor falls behind by one connection at most")
}

func TestCursorAdvances(t *testing.T) {
	r := &RetryEnd{connChanged: make(chan struct{})}
	first, second := new(link), new(link)
	var c cursor
	at, changed := r.position(&c)
	assert.Nil(t, at)
	assert.NotNil(t, changed)

	c.follow(nil, first)
	r.last.Store(first)
	r.advance(&c, first)
	at, _ = r.position(&c)
	assert.Nil(t, at, "there is no connection after the last one")

	c.follow(nil, first)
	c.follow(first, second)
	r.last.Store(second)
	r.advance(&c, first)
	at, _ = r.position(&c)
	assert.Same(t, second, at)
	r.advance(&c, first)
	at, _ = r.position(&c)
	assert.Same(t, second, at, "another goroutine has moved the cursor")
}
