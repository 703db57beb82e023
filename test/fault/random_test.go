package fault

import (
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
)

// rounds runs n rounds of a test, each with its own seed. If the environment variable RANDOMTIME
// is set, it runs rounds for that time instead.
func rounds(t *testing.T, n int, round func(seed uint64)) {
	seed := rand.Uint64()
	if text := os.Getenv("RANDOMTIME"); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		done := 0
		for end := time.Now().Add(d); time.Now().Before(end) && !t.Failed(); done++ {
			round(seed + uint64(done))
		}
		t.Logf("%d rounds, the first with the seed %d", done, seed)
		return
	}
	for i := range kit.Amount("pipe", n) {
		round(seed + uint64(i))
	}
}

// weights has the relative frequency of each operation in a random program.
type weights [16]int

// program returns a random program of n operations, with the given higher bits.
func (w weights) program(r *rand.Rand, n int, flags func() byte) []byte {
	sum := 0
	for _, k := range w {
		sum += k
	}
	var program []byte
	for range n {
		op, k := 0, r.IntN(sum)
		for k >= w[op] {
			k -= w[op]
			op++
		}
		program = append(program, byte(op)|flags(), byte(r.Uint32()))
	}
	return program
}

var (
	// everything has all operations, except those that end the connection.
	everything = weights{4, 4, 6, 8, 1, 1, 3, 10, 8, 8, 3, 8, 4, 0, 0, 6}
	// requests has the operations that can be given up, and those that open streams.
	requests = weights{3, 3, 3, 3, 0, 0, 1, 12, 8, 12, 4, 4, 4, 0, 0, 4}
	// ends has all operations. Those that end streams and connections are more frequent.
	ends = weights{10, 6, 4, 3, 1, 1, 12, 8, 8, 8, 4, 3, 4, 1, 1, 6}
)

// randomRound runs one random program, and logs its seed if it fails.
func randomRound(t *testing.T, seed uint64, w weights, n int, hurry byte) {
	r := rand.New(rand.NewPCG(seed, 0))
	p := profiles[r.IntN(len(profiles))]
	p.resumes = seed%2 == 0 // in every other round
	if p.resumes {
		w[13] = 4
	}
	program := w.program(r, n, func() byte {
		flags := byte(r.Uint32()) & 0xf0
		if r.IntN(4) > 0 {
			flags |= hurry
		}
		return flags
	})
	t.Run("round", func(t *testing.T) {
		defer func() {
			if t.Failed() {
				t.Logf("seed %d, %s, resumes: %v", seed, p.name, p.resumes)
			}
		}()
		runInBubble(t, p, program)
	})
}

// After random programs of all operations no credit is lost, and the Ends work. In every other
// round, as in the tests below, the session is resumed, and its transport breaks now and then.
func TestRandomPrograms(t *testing.T) {
	rounds(t, 64, func(seed uint64) { randomRound(t, seed, everything, 150, 0) })
}

// Calls, messages, registrations and streams of all sizes are given up at every moment:
// before they have credit, half sent, sent, and answered. Afterwards all credit has been
// returned and the largest call succeeds.
func TestGivenUpAtEveryMoment(t *testing.T) {
	rounds(t, 64, func(seed uint64) { randomRound(t, seed, requests, 300, hasty) })
}

// Streams and Ends are closed and reset, from both sides, while packets of all sizes have
// partly arrived. Afterwards all credit has been returned, no handler is running, and
// Shutdown returns.
func TestClosedWhilePacketsArrive(t *testing.T) {
	rounds(t, 64, func(seed uint64) { randomRound(t, seed, ends, 150, large) })
}

// Random programs over TCP, which is read and written by other code. The operations run
// concurrently.
func TestRandomProgramsOverTCP(t *testing.T) {
	rounds(t, 8, func(seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := profiles[r.IntN(len(profiles)-1)] // the slow profile would take real time
		p.hurry = 10
		w := []weights{everything, requests, ends}[r.IntN(3)]
		w[13], w[14] = r.IntN(2)*w[13], r.IntN(2)*w[14]
		p.resumes = seed%2 == 0
		if p.resumes {
			w[13] = 4
		}
		program := w.program(r, 300, func() byte { return byte(r.Uint32()) & 0xf0 })
		t.Run("round", func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, %s", seed, p.name)
				}
			}()
			m := startMachine(t, p, func() (near, far net.Conn, breaks func(), err error) {
				near, far, err = kit.RawPair("tcp")
				if err != nil {
					return nil, nil, nil, err
				}
				if tcp, ok := near.(*net.TCPConn); ok {
					tcp.SetWriteBuffer(8 << 10) // so that frames are sent in parts
				}
				return near, far, func() { near.Close() }, nil
			})
			m.run(program, func() {
				if r.IntN(4) == 0 {
					runtime.Gosched()
				}
			})
			m.finish(func() { time.Sleep(time.Millisecond) })
		})
	})
}
