//go:build geminiodebug

package application

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMux(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, _ *End) { assert.Same(t, client.mux, client.Mux()) })
}
