package main

import "slices"

// row is a line of the table.
type row struct {
	probe, metric string
	work          string
	what          string // what is measured
	format        func(float64) string
	less          bool // whether less is better
	bars          []bar
}

// bar is a goal for geminio in a row.
type bar struct {
	against string  // the name of a peer, bestPeer, or nothing
	limit   float64 // as a ratio to the figure of that peer; without a peer, of geminio's figure
	stretch bool    // whether the bar is a stretch goal
	shown   bool    // whether the bar has no limit; a named library does different work in this row, and is not the best peer
}

// shows tells whether the peer is only shown in the row.
func (w row) shows(peer string) bool {
	return slices.ContainsFunc(w.bars, func(b bar) bool { return b.shown && b.against == peer })
}

// bestPeer stands for the best of the other libraries in that row.
const bestPeer = "best peer"

// The names of the references.
const (
	rawName          = "raw TCP"
	minimalName      = "minimal echo"
	minimalCallsName = "minimal calls"
)

// grpcStreamName is grpc with a stream that each caller keeps. A call of grpc is unary;
// the cost of a request and an answer on a stream is shown beside it.
const grpcStreamName = "grpc stream"

// rows returns all rows, in the order of the table.
func rows() []row {
	return append([]row{
		{
			probe: "call", metric: "rate", work: "calls, one in flight", format: rate,
			what: "one caller, requests and answers of 256 B; calls per second",
			bars: []bar{{against: rawName, limit: 0.62}, {against: bestPeer, limit: 1}, {against: rawName, limit: 0.70, stretch: true}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "call" + onOneSuffix, metric: "rate", work: "calls, one in flight, on one processor", format: rate,
			what: "the same with GOMAXPROCS=1, where no thread wakes another",
			bars: []bar{{against: rawName, shown: true}, {against: bestPeer, shown: true}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "calls", metric: "rate", work: "calls, 64 callers", format: rate,
			what: "64 callers share a connection, requests and answers of 256 B; calls per second",
			bars: []bar{{against: minimalName, limit: 0.40}, {against: bestPeer, limit: 3}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "calls4k", metric: "rate", work: "calls, 64 callers, 4 KiB answers", format: rate,
			what: "the same with answers of 4 KiB; calls per second",
			bars: []bar{{against: minimalName, limit: 0.30}, {against: bestPeer, limit: 1.8}, {against: minimalName, limit: 0.45, stretch: true}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "message", metric: "rate", work: "acked messages, one by one", format: rate,
			what: "one publisher sends 128 B and waits for the ack, which has no payload; messages per second",
			bars: []bar{{against: rawName, limit: 0.55}, {against: minimalCallsName, shown: true}},
		}, {
			probe: "message" + onOneSuffix, metric: "rate", work: "acked messages, one by one, on one processor", format: rate,
			what: "the same with GOMAXPROCS=1, where no thread wakes another",
			bars: []bar{{against: rawName, shown: true}},
		}, {
			probe: "messages", metric: "rate", work: "acked messages, 64 publishers", format: rate,
			what: "64 publishers share a connection, each as above; messages per second",
			bars: []bar{{against: minimalName, limit: 0.40}, {against: bestPeer, limit: 1.8}, {against: minimalCallsName, shown: true}},
		}, {
			probe: "bulk", metric: "bytes", work: "bulk, one stream", format: byteRate,
			what: "writes of 128 KiB on one stream, read into a buffer of 128 KiB; bytes read per second",
			bars: []bar{{against: rawName, limit: 0.78}, {against: rawName, limit: 0.88, stretch: true}},
		}, {
			probe: "bulk8", metric: "bytes", work: "bulk, 8 streams", format: byteRate,
			what: "the same on 8 streams of one connection, the sum of all; raw TCP has one connection and no streams",
			bars: []bar{{against: rawName, limit: 0.75}},
		}, {
			probe: "bulk8", metric: "even", work: "bulk, slowest of 8 streams to the fastest", format: plain,
			what: "the bytes that the slowest of the 8 streams has moved, divided by those of the fastest",
			bars: []bar{{limit: 0.9}},
		}, {
			probe: "small", metric: "writes", work: "64 B writes, one stream", format: rate,
			what: "writes of 64 B on one stream, no answers; writes per second, counted at the reader",
			bars: []bar{{against: bestPeer, limit: 3}},
		}, {
			probe: "open", metric: "rate", work: "open, one byte, close; one by one", format: rate,
			what: "open a stream, write a byte, close the stream; the next one begins when the other side has read the byte and the end and has closed; streams per second",
			bars: []bar{{against: bestPeer, limit: 1.4}},
		}, {
			probe: "open" + onOneSuffix, metric: "rate", work: "open, one byte, close; one by one, on one processor", format: rate,
			what: "the same with GOMAXPROCS=1, where no thread wakes another",
			bars: []bar{{against: bestPeer, shown: true}},
		}, {
			probe: "open64", metric: "rate", work: "open, one byte, close; 64 at once", format: rate,
			what: "the same in 64 goroutines; streams per second",
			bars: []bar{{against: bestPeer, limit: 2}},
		}, {
			probe: "mixed", metric: "p50", work: "a call while 8 streams fill the connection, p50", format: seconds, less: true,
			what: "calls of 256 B, one in flight, while writes without pause fill 8 streams in the direction of the requests; the median of a call",
			bars: []bar{{against: "smux", limit: 1}},
		}, {
			probe: "mixed", metric: "p99", work: "the same, p99", format: seconds, less: true,
			what: "the 99th percentile of a call",
			bars: []bar{{against: bestPeer, limit: 0.4}},
		}, {
			probe: "mixed", metric: "bytes", work: "the same, bulk meanwhile", format: byteRate,
			what: "the bytes that the 8 streams move at the same time; raw TCP is one copy without calls",
			bars: []bar{{against: rawName, limit: 0.6}},
		}, {
			probe: "connect", metric: "rate", work: "connections, made and used once", format: rate,
			what: "connect, one call of 256 B, close; one by one; connections per second",
			bars: []bar{{against: bestPeer, limit: 1.2}, {against: rawName, shown: true}},
		}, {
			probe: "connect", metric: "cpu", work: "processor time of a connection, made and used once", format: seconds, less: true,
			what: "user and system time of both sides",
			bars: []bar{{against: bestPeer, shown: true}, {against: rawName, shown: true}},
		}, {
			probe: "clients", metric: "rate", work: "4000 clients, each calling", format: rate,
			what: "4000 connections with one call of 256 B in flight on each; calls per second of all",
			bars: []bar{{against: rawName, limit: 0.7}, {against: bestPeer, shown: true}},
		}, {
			probe: "clients", metric: "cpu", work: "processor time of such a call", format: seconds, less: true,
			what: "user and system time of both sides",
			bars: []bar{{against: rawName, shown: true}, {against: bestPeer, shown: true}},
		}, {
			probe: "used", metric: "bytes", work: "an End that was used once and is idle", format: size, less: true,
			what: "as for an idle End, after one call of 256 B",
			bars: []bar{{limit: 6 << 10}},
		}, {
			probe: "used", metric: "goroutines", work: "goroutines of such an End", format: plain, less: true,
			what: "as above",
			bars: []bar{{limit: 1}},
		}, {
			probe: "idle", metric: "bytes", work: "an idle End", format: size, less: true,
			what: "heap and stacks after a collection, for each side of an idle connection; half of the growth by 100 connections, for each connection",
			bars: []bar{{limit: 8 << 10}},
		}, {
			probe: "idle", metric: "goroutines", work: "goroutines of an idle End", format: plain, less: true,
			what: "as above",
			bars: []bar{{limit: 1}},
		}, {
			probe: "parked", metric: "bytes", work: "an idle stream, both sides", format: size, less: true,
			what: "heap and stacks after a collection, for both sides of a stream that was opened and accepted; from the growth by 1000 streams",
			bars: []bar{{limit: 1 << 10}},
		}, {
			probe: "parked", metric: "goroutines", work: "goroutines of an idle stream", format: plain, less: true,
			what: "as above",
			bars: []bar{{limit: 0}},
		}, {
			probe: "allocs", metric: "call", work: "allocations of a call", format: plain, less: true,
			what: "of both sides together, one call of 256 B in flight",
			bars: []bar{{limit: 6}},
		}, {
			probe: "allocs", metric: "message", work: "allocations of an acked message", format: plain, less: true,
			what: "of both sides together, one message of 128 B in flight",
			bars: []bar{{limit: 5}},
		}, {
			probe: "allocs", metric: "bytes", work: "allocations of a raw write and read", format: plain, less: true,
			what: "of both sides together, 256 B written to a stream and read at its other side before the next write",
			bars: []bar{{limit: 0}},
		}, {
			probe: "bulk", metric: "cpu", work: "processor time of 1 GB of bulk", format: cpuPerByte, less: true,
			what: "user and system time of both sides for 10^9 bytes on one stream",
			bars: []bar{{against: rawName, limit: 1.5}},
		}, {
			probe: "call" + tlsSuffix, metric: "rate", work: "over TLS: calls, one in flight", format: rate,
			what: "as without TLS, with TLS 1.3 over TCP; the figure of quic is that without TLS",
			bars: []bar{{against: bestPeer, limit: 1}, {against: minimalName, limit: 0.9}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "calls" + tlsSuffix, metric: "rate", work: "over TLS: calls, 64 callers", format: rate,
			what: "as without TLS",
			bars: []bar{{against: minimalName, limit: 0.45}, {against: bestPeer, limit: 3}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "calls" + tlsSuffix, metric: "systemcalls", work: "over TLS: reads and writes of a call, 64 callers", format: plain, less: true,
			what: "system calls that read or write, of both sides together; Linux only",
			bars: []bar{{against: minimalName, shown: true}, {against: bestPeer, shown: true}},
		}, {
			probe: "calls" + tlsSuffix, metric: "cpu", work: "over TLS: processor time of a call, 64 callers", format: seconds, less: true,
			what: "user and system time of both sides",
			bars: []bar{{against: minimalName, shown: true}, {against: bestPeer, shown: true}},
		}, {
			probe: "calls4k" + tlsSuffix, metric: "rate", work: "over TLS: calls, 64 callers, 4 KiB answers", format: rate,
			what: "as without TLS",
			bars: []bar{{against: minimalName, limit: 0.6}, {against: bestPeer, limit: 1.8}, {against: minimalCallsName, shown: true}, {against: grpcStreamName, shown: true}},
		}, {
			probe: "messages" + tlsSuffix, metric: "rate", work: "over TLS: acked messages, 64 publishers", format: rate,
			what: "as without TLS",
			bars: []bar{{against: minimalName, limit: 0.45}, {against: bestPeer, shown: true}, {against: minimalCallsName, shown: true}},
		}, {
			probe: "bulk" + tlsSuffix, metric: "bytes", work: "over TLS: bulk, one stream", format: byteRate,
			what: "as without TLS; raw TCP is a copy over the same TLS",
			bars: []bar{{against: bestPeer, limit: 1.15}, {against: rawName, limit: 0.9}},
		}, {
			probe: "bulk8" + tlsSuffix, metric: "bytes", work: "over TLS: bulk, 8 streams", format: byteRate,
			what: "as without TLS",
			bars: []bar{{against: bestPeer, limit: 1.15}, {against: rawName, limit: 0.9}},
		}, {
			probe: "mixed" + tlsSuffix, metric: "p50", work: "over TLS: a call while 8 streams fill the connection, p50", format: seconds, less: true,
			what: "as without TLS",
			bars: []bar{{against: bestPeer, limit: 1}},
		}, {
			probe: "mixed" + tlsSuffix, metric: "p99", work: "the same, p99", format: seconds, less: true,
			what: "as without TLS",
			bars: []bar{{against: bestPeer, limit: 0.7}},
		}, {
			probe: "mixed" + tlsSuffix, metric: "bytes", work: "the same, bulk meanwhile", format: byteRate,
			what: "as without TLS",
			bars: []bar{{against: bestPeer, shown: true}, {against: rawName, shown: true}},
		},
	}, pathRows()...)
}
