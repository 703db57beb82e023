package main

// What the two sides tell each other, and what comes of it.
//
// A client's meta is a auth.Hello. The server registers methodBegin, which the client calls
// with a tally of what it has of the file already. The answer says how much of that is the
// beginning of the file that the server has: all, or nothing. Then the server opens a
// stream, whose meta is an offer, and copies into it what follows. On that stream the client
// calls methodSum in the end, with a tally of the whole file, and gets that of the server.

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"time"
)

// The methods of the server. Requests and answers are JSON.
const (
	methodBegin = "begin" // a tally; answered with a beginning
	methodSum   = "sum"   // a tally; answered with another one
)

// program is what clients say that they are one of, and tokenVariable where the token is if
// it is in no file.
const program, tokenVariable = "filepush", "FILEPUSH_TOKEN"

// beginning is how much of the file a client need not be sent.
type beginning struct {
	Offset int64 `json:"offset"`
}

// offer is what the server says before the first byte: the meta of the stream.
type offer struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // of the whole file
	beginning
}

// tally is what a side has counted.
type tally struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func newTally(size int64, sum hash.Hash) tally {
	return tally{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
}

// readTally reads the data of a request.
func readTally(data []byte) (t tally, err error) {
	if err = json.Unmarshal(data, &t); err == nil && t.Size < 0 {
		err = fmt.Errorf("a size of %d", t.Size)
	}
	return t, err
}

// result is one push, as either side knows it in the end.
type result struct {
	offer
	sent, received tally // of the whole file
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
	verdict, resumed := "identical", ""
	if err := r.verdict(); err != nil {
		verdict = err.Error()
	}
	if r.Offset > 0 {
		resumed = fmt.Sprintf("  resumed   after %d bytes\n", r.Offset)
	}
	return fmt.Sprintf(`  size      %.1f MiB (%d bytes)
%s  time      %v
  speed     %.1f MiB/s
  sent      SHA-256 %s
  received  SHA-256 %s
  verdict   %s
`, float64(r.received.Size)/mib, r.received.Size, resumed, r.took.Round(time.Microsecond),
		float64(r.received.Size-r.Offset)/mib/r.took.Seconds(), r.sent.SHA256, r.received.SHA256, verdict)
}
