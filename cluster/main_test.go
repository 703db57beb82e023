package cluster_test

import (
	"os"
	"testing"

	"github.com/singchia/geminio/test/leak"
)

// TestMain also runs the processes that the tests start and kill: see process_test.go.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		roles[role]()
		return
	}
	leak.Main(m)
}
