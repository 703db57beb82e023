package packet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// FeatureResume is the feature of sides whose sessions survive the loss of a transport.
const FeatureResume = "resume"

const (
	// TicketIDLen is the length of Ticket.ID, in bytes.
	TicketIDLen = 16
	// SecretLen is the length of Ticket.Secret, in bytes.
	SecretLen = 32
	// ProofLen is the length of a proof, in bytes.
	ProofLen = sha256.Size
)

// Ticket lets a client resume a session. The server sends it in the ConnAck.
type Ticket struct {
	ID     []byte `json:"id"`     // names the session; public
	Secret []byte `json:"secret"` // the key of the proofs; random
	Keep   uint32 `json:"keep"`   // the time for which the server keeps the session without a transport, in milliseconds
}

// KeepTime returns Keep as a duration.
func (t *Ticket) KeepTime() time.Duration { return time.Duration(t.Keep) * time.Millisecond }

// check returns an error if t has a field of a wrong length; t may be nil.
func (t *Ticket) check() error {
	switch {
	case t == nil:
	case len(t.ID) != TicketIDLen:
		return malformed("connack", "ticket: an id of %d bytes, need %d", len(t.ID), TicketIDLen)
	case len(t.Secret) != SecretLen:
		return malformed("connack", "ticket: a secret of %d bytes, need %d", len(t.Secret), SecretLen)
	}
	return nil
}

// Resume asks the server to continue a session over the transport of the Conn packet.
type Resume struct {
	ID       []byte `json:"id"`       // Ticket.ID
	Attempt  uint64 `json:"attempt"`  // grows with every attempt to resume the session
	Received uint64 `json:"received"` // the number of bytes of the session that the client has received
	Proof    []byte `json:"proof"`    // Proof with RoleClient
	// Only says that the client wants no fresh connection in place of the session.
	Only bool `json:"only,omitempty"`
}

// check returns an error if r has a field of a wrong length; r may be nil.
func (r *Resume) check() error {
	switch {
	case r == nil:
	case len(r.ID) != TicketIDLen:
		return malformed("conn", "resume: an id of %d bytes, need %d", len(r.ID), TicketIDLen)
	case len(r.Proof) != ProofLen:
		return malformed("conn", "resume: a proof of %d bytes, need %d", len(r.Proof), ProofLen)
	}
	return nil
}

// Resumed answers a Resume.
type Resumed struct {
	Received uint64 `json:"received"` // the number of bytes of the session that the server has received
	Proof    []byte `json:"proof"`    // Proof with RoleServer or RoleEnded
}

// check returns an error if r has a field of a wrong length; r may be nil.
func (r *Resumed) check(key string) error {
	if r != nil && len(r.Proof) != ProofLen {
		return malformed("connack", "%s: a proof of %d bytes, need %d", key, len(r.Proof), ProofLen)
	}
	return nil
}

// Role is the author and the meaning of a proof.
type Role string

const (
	RoleClient Role = "client" // the client resumes the session
	RoleServer Role = "server" // the server has resumed it
	RoleEnded  Role = "ended"  // the server has ended it
)

// Proof returns the HMAC-SHA256 with the secret of a ticket over the role, the id of the
// ticket, and the attempt and the position as 8 bytes each, big endian.
func Proof(secret []byte, role Role, id []byte, attempt, received uint64) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(role))
	h.Write(id)
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:], attempt)
	binary.BigEndian.PutUint64(numbers[8:], received)
	h.Write(numbers[:])
	return h.Sum(nil)
}

// Proves reports whether proof is Proof of the other arguments. It takes constant time.
func Proves(proof, secret []byte, role Role, id []byte, attempt, received uint64) bool {
	return hmac.Equal(proof, Proof(secret, role, id, attempt, received))
}
