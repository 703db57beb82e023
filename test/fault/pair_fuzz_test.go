package fault

import "testing"

// FuzzPair runs the bytes of the fuzzer as a program of operations on a pair of Ends, over a
// transport with a small buffer and in a bubble: see machine. Nothing panics, and no goroutine
// is left when both Ends are closed, since the bubble would not end. With the tag geminiodebug
// the ledgers are checked after each step.
func FuzzPair(f *testing.F) {
	for _, seed := range [][]byte{
		{},
		[]byte("\x00\x00\x02\x50\x13\x40\x02\x90\x13\x90\x04\x00\x05\x01\x06\x00"),
		[]byte("\x00\x00\x10\x00\x02\xff\x12\xff\x13\xff\x03\xff\x04\x00\x14\x00\x08\x00"),
		[]byte("\x07\xff\x17\xff\x08\xff\x18\xff\x09\xff\x19\xff\x0a\x08\x1a\x08"),
		[]byte("\x00\x00\x02\x20\x0b\x00\x13\x20\x0c\x00\x00\x00\x02\x20"),
		[]byte("\x08\x10\x0d\x00\x18\x10\x08\xff\x0e\x00"),
		[]byte("\x00\x00\x00\x00\x10\x00\x12\xf0\x02\xf1\x05\x01\x15\x00\x06\x00\x16\x00"),
		[]byte("\x00\xff\x69\xff\x79\x80\x67\x90\xe7\xff\x06\x01\x01"),
		[]byte("\x00\xff\x47\xff\x57\xff\x49\xff\x0f\x10\x16\x01\x02"),
		[]byte("\x00\xff\x49\xff\x49\x30\x09\x01\x69\xff\x09\x02\x0f\xff\x86\x01\x03"),
		[]byte("\x48\x02\x68\x02\x58\xff\x0f\x40\x48\x05\x1b\x00\x03"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 400 {
			program = program[:400]
		}
		// The last byte of a program of odd length chooses the profile.
		p := profiles[0]
		if n := len(program); n%2 == 1 {
			p = profiles[int(program[n-1])%len(profiles)]
		}
		runInBubble(t, p, program)
	})
}
