package packet

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResumptionInHandshakes(t *testing.T) {
	id, secret := bytes.Repeat([]byte{1}, TicketIDLen), bytes.Repeat([]byte{2}, SecretLen)
	proof := Proof(secret, RoleClient, id, 3, 1<<40)
	c := Conn{PacketID: 1, Settings: offer(), Resume: &Resume{ID: id, Attempt: 3, Received: 1 << 40, Proof: proof}}
	c.Settings.Log, c.Settings.Features = 1<<20, []string{FeatureResume}
	b, err := AppendConn(nil, c)
	require.NoError(t, err)
	got, err := ParseConn(1, b[HandshakeHeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, c.Resume, got.Resume)
	assert.Equal(t, c.Settings, got.Settings)

	a := ConnAck{
		PacketID: 1, ClientID: 7, Settings: offer(), Ticket: &Ticket{ID: id, Secret: secret, Keep: 1500},
		Resumed: &Resumed{Received: 5, Proof: proof}, Ended: &Resumed{Received: 6, Proof: proof},
	}
	b, err = AppendConnAck(nil, a)
	require.NoError(t, err)
	ack, err := ParseConnAck(1, b[HandshakeHeaderLen:])
	require.NoError(t, err)
	assert.Equal(t, a.Ticket, ack.Ticket)
	assert.Equal(t, a.Resumed, ack.Resumed)
	assert.Equal(t, a.Ended, ack.Ended)
	assert.Equal(t, 1500*time.Millisecond, ack.Ticket.KeepTime())
}

func TestMalformedResumption(t *testing.T) {
	good := &Resume{ID: make([]byte, TicketIDLen), Proof: make([]byte, ProofLen)}
	for _, change := range []func(r *Resume){
		func(r *Resume) { r.ID = r.ID[1:] }, func(r *Resume) { r.ID = nil },
		func(r *Resume) { r.Proof = r.Proof[1:] }, func(r *Resume) { r.Proof = append(r.Proof, 0) },
	} {
		r := *good
		change(&r)
		b, err := AppendConn(nil, Conn{Settings: offer(), Resume: &r})
		require.NoError(t, err)
		_, err = ParseConn(0, b[HandshakeHeaderLen:])
		requireMalformed(t, err, "conn", "resume: ")
	}
	for name, a := range map[string]ConnAck{
		"ticket: an id":    {Ticket: &Ticket{Secret: make([]byte, SecretLen)}},
		"ticket: a secret": {Ticket: &Ticket{ID: make([]byte, TicketIDLen)}},
		"resumed: a proof": {Resumed: &Resumed{}},
		"ended: a proof":   {Ended: &Resumed{Proof: make([]byte, ProofLen+1)}},
	} {
		a.Settings = offer()
		b, err := AppendConnAck(nil, a)
		require.NoError(t, err)
		_, err = ParseConnAck(0, b[HandshakeHeaderLen:])
		requireMalformed(t, err, "connack", name)
	}
}

// A proof changes with each of its inputs.
func TestProof(t *testing.T) {
	id, secret := []byte(strings.Repeat("i", TicketIDLen)), []byte(strings.Repeat("s", SecretLen))
	p := Proof(secret, RoleClient, id, 1, 2)
	require.Len(t, p, ProofLen)
	assert.True(t, Proves(p, secret, RoleClient, id, 1, 2))
	assert.False(t, Proves(p, id, RoleClient, id, 1, 2))
	assert.False(t, Proves(p, secret, RoleServer, id, 1, 2))
	assert.False(t, Proves(p, secret, RoleEnded, id, 1, 2))
	assert.False(t, Proves(p, secret, RoleClient, secret, 1, 2))
	assert.False(t, Proves(p, secret, RoleClient, id, 2, 2))
	assert.False(t, Proves(p, secret, RoleClient, id, 1, 3))
	assert.False(t, Proves(p[1:], secret, RoleClient, id, 1, 2))
}
