package main

// The protocol of the two sides.
//
// A client's meta is an auth.Hello. The server registers methodBegin. The client calls it
// with a tally of the part that it already has. The answer says whether this part is the
// beginning of the server's file. Then the server opens a stream, whose meta is an offer,
// and copies the rest of the file into it. At the end the client calls methodSum on that
// stream, with a tally of the whole file, and gets the tally of the server.

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

// program is the name of this program in an auth.Hello. tokenVariable is the environment
// variable with the token, if the token is in no file.
const program, tokenVariable = "filepush", "FILEPUSH_TOKEN"

// beginning says how many bytes of the file the client already has.
type beginning struct {
	Offset int64 `json:"offset"`
}

// offer is the meta of the stream, which describes the file.
type offer struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // of the whole file
	beginning
}

// tally is the size and the checksum of bytes that a side has.
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

// result is the result of one push at either side.
type result struct {
	offer
	sent, received tally // of the whole file
	took           time.Duration
}

// verdict returns nil if the copy is identical, and otherwise the difference.
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

// String returns a summary of several lines.
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
