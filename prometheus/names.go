package prometheus

import (
	"strings"
	"sync"
)

// other is the value of a label in place of names that do not appear in metrics.
const other = "other"

// maxNames is the largest number of names that a label gets besides the listed ones.
const maxNames = 200

// names gives the values of a label for names that programs or peers choose. Its methods are safe for
// concurrent use.
type names struct {
	listed map[string]bool // read-only; these always appear
	open   bool            // others appear too, up to maxNames

	mu   sync.RWMutex
	seen map[string]bool // the others that appear
}

// newNames returns names of which the listed ones appear, and maxNames others if open is set.
func newNames(listed []string, open bool) *names {
	n := &names{listed: make(map[string]bool, len(listed)), open: open, seen: make(map[string]bool)}
	for _, name := range listed {
		n.listed[name] = true
	}
	return n
}

// label returns the value of the label for a name. A name that the peer has chosen is not trusted, and
// appears if it is listed only.
func (n *names) label(name string, trusted bool) string {
	if !n.listed[name] && (!n.open || !trusted || !n.admit(name)) {
		return other
	}
	return strings.ToValidUTF8(name, "\uFFFD") // a metric with other bytes is an error
}

// admit reports whether a name appears, and adds it if there is room.
func (n *names) admit(name string) bool {
	n.mu.RLock()
	found, full := n.seen[name], len(n.seen) >= maxNames
	n.mu.RUnlock()
	if found || full {
		return found
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.seen) < maxNames {
		n.seen[strings.Clone(name)] = true
	}
	return n.seen[name]
}
