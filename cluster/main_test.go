package cluster_test

import (
	"testing"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
