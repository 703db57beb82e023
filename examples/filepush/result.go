package main

// What the two sides tell each other, and what comes of it.

import (
	"encoding/hex"
	"fmt"
	"hash"
	"time"
)

// methodSum is the method of the server by which client and server exchange
// their tallies, on the stream of the file.
const methodSum = "sum"

// offer is what the server says before the first byte: the meta of the stream.
type offer struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// tally is what a side has counted while it copied.
type tally struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func newTally(size int64, sum hash.Hash) tally {
	return tally{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
}

// result is one push, as either side knows it in the end.
type result struct {
	offer
	sent, received tally
	took           time.Duration
}

// verdict returns nil if the copy is identical, or what differs.
func (r *result) verdict() error {
	switch {
	case r.sent.Size != r.received.Size:
		return fmt.Errorf("the copy differs: %d bytes were sent, %d were received", r.sent.Size, r.received.Size)
	case r.sent.Size != r.Size:
		return fmt.Errorf("the file has changed meanwhile: of %d bytes %d were sent", r.Size, r.sent.Size)
	case r.sent.SHA256 != r.received.SHA256:
		return fmt.Errorf("the copy differs: sent %s, received %s", r.sent.SHA256, r.received.SHA256)
	}
	return nil
}

// String is the summary, in lines.
func (r *result) String() string {
	const mib = 1 << 20
	size := float64(r.received.Size) / mib
	verdict := "identical"
	if err := r.verdict(); err != nil {
		verdict = err.Error()
	}
	return fmt.Sprintf(`  size      %.1f MiB (%d bytes)
  time      %v
  speed     %.1f MiB/s
  sent      SHA-256 %s
  received  SHA-256 %s
  verdict   %s
`, size, r.received.Size, r.took.Round(time.Microsecond), size/r.took.Seconds(), r.sent.SHA256, r.received.SHA256, verdict)
}
