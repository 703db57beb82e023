package conn

// This file finds the packets in the log that the peer has not received completely.

import "github.com/singchia/geminio/packet"

// markEvery is the least distance of two marks, in bytes.
const markEvery = 4 << 10

// mark records that a frame begins at the end of the log. The caller holds s.logMu.
func (s *session) mark() {
	n, start := len(s.marks), s.logEnd-uint64(s.log.Len())
	if n == 0 || s.marks[n-1] < start || s.logEnd-s.marks[n-1] >= markEvery {
		s.marks = append(s.marks, s.logEnd)
	}
}

// unmark drops the marks before the log, except the last of them. The caller holds
// s.logMu.
func (s *session) unmark() {
	start, n := s.logEnd-uint64(s.log.Len()), 0
	for n+1 < len(s.marks) && s.marks[n+1] <= start {
		n++
	}
	if n > 0 {
		s.marks = append(s.marks[:0], s.marks[n:]...)
	}
}

// tellNotReceived tells the layer above which packets the peer has not received completely.
// The peer has received all bytes up to the position received. If the log does not begin
// with a frame, tellNotReceived leaves out the packets about which it cannot be certain.
// The caller has called beQuiet.
func (c *Conn) tellNotReceived(received uint64) {
	s := c.session
	s.logMu.Lock()
	defer s.logMu.Unlock()
	r := logReader{position: s.logEnd - uint64(s.log.Len())}
	for part := range s.log.Chunks() {
		if part.Len() > 0 {
			r.parts = append(r.parts, part.Bytes())
		}
	}
	from := s.logEnd
	for i := len(s.marks) - 1; i >= 0 && s.marks[i] >= r.position; i-- {
		if from = s.marks[i]; from <= received {
			break
		}
	}
	r.skip(from - r.position)
	var head [packet.HeaderLen + packet.FragmentLen]byte
	for r.position+packet.HeaderLen <= s.logEnd {
		r.read(head[:packet.HeaderLen])
		h, err := packet.ParseHeader(head[:], packet.DefaultMaxFrame)
		if err != nil {
			return // not a frame of this side
		}
		end := r.position + uint64(h.Length)
		if h.Type.IsPacket() && h.Flags&packet.FlagMore == 0 && end > received && end <= s.logEnd {
			n := packet.FragmentHeaderLen(h)
			r.read(head[packet.HeaderLen : packet.HeaderLen+n])
			f, err := packet.ParseFragmentHeader(head[packet.HeaderLen:], h)
			if err != nil {
				return
			}
			c.upper.NotReceived(h, f.Seq)
		}
		r.skip(end - r.position)
	}
}

// logReader reads a log.
type logReader struct {
	parts    [][]byte
	position uint64 // of the first byte of parts
}

// read fills p with the next bytes, or as much of it as there is.
func (r *logReader) read(p []byte) {
	for len(p) > 0 && len(r.parts) > 0 {
		n := copy(p, r.parts[0])
		p = p[n:]
		r.took(n)
	}
}

// skip skips n bytes, or as many as there are.
func (r *logReader) skip(n uint64) {
	for n > 0 && len(r.parts) > 0 {
		took := min(n, uint64(len(r.parts[0])))
		n -= took
		r.took(int(took))
	}
}

// took removes n bytes of the first part.
func (r *logReader) took(n int) {
	r.position += uint64(n)
	if r.parts[0] = r.parts[0][n:]; len(r.parts[0]) == 0 {
		r.parts = r.parts[1:]
	}
}
