package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestNamedMetricsExist requires that the README of module prometheus lists the metrics that
// docs/operations.md names.
func TestNamedMetricsExist(t *testing.T) {
	listed := read(t, root+"/prometheus/README.md")
	named := regexp.MustCompile("`(geminio_[a-z_]+)`").FindAllStringSubmatch(read(t, root+"/docs/operations.md"), -1)
	for _, m := range named {
		if !strings.Contains(listed, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md names %s, a metric that does not exist", m[1])
		}
	}
	if len(named) < 10 {
		t.Fatalf("docs/operations.md names %d metrics, want more", len(named))
	}
}
