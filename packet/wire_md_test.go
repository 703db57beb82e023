package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wireMD is the specification, whose examples and tables these tests hold against
// the code.
const wireMD = "../docs/wire.md"

// example is one fenced block of the specification.
type example struct {
	kind   string // "handshake" or "frame"
	name   string
	from   string // "client", "server" or nothing
	fields []string
	bytes  []byte
}

func readWireMD(t *testing.T) string {
	b, err := os.ReadFile(wireMD)
	require.NoError(t, err)
	return string(b)
}

var exampleBlock = regexp.MustCompile("(?ms)^```hex\\b([^\n]*)\n(.*?)^```$")

// examples returns all examples of the specification, in order.
func examples(t *testing.T, text string) []example {
	blocks := exampleBlock.FindAllStringSubmatch(text, -1)
	require.Len(t, blocks, strings.Count(text, "\n```hex"), "a block without an end")
	all := make([]example, 0, len(blocks))
	for _, block := range blocks {
		info := strings.Fields(block[1])
		require.GreaterOrEqual(t, len(info), 2, "%q", block[1])
		e := example{kind: info[0], name: info[1]}
		for _, more := range info[2:] {
			from, ok := strings.CutPrefix(more, "from=")
			require.True(t, ok, "%s: %q", e.name, more)
			e.from = from
		}
		fields, hexes, ok := strings.Cut(block[2], "\n--\n")
		require.True(t, ok, "%s: no line --", e.name)
		e.fields = strings.Split(fields, "\n")
		for line := range strings.Lines(hexes) {
			b, err := parseHexLine(strings.TrimSpace(line))
			require.NoError(t, err, e.name)
			e.bytes = append(e.bytes, b...)
		}
		all = append(all, e)
	}
	return all
}

// parseHexLine parses a line of bytes as the specification describes them.
func parseHexLine(line string) (b []byte, err error) {
	if text, ok := strings.CutPrefix(line, "'"); ok {
		text, ok = strings.CutSuffix(text, "'")
		if !ok {
			return nil, fmt.Errorf("%s: no end of the text", line)
		}
		return []byte(text), nil
	}
	line, _, _ = strings.Cut(line, "#")
	for word := range strings.FieldsSeq(line) {
		digits, times, repeated := strings.Cut(word, "*")
		p, err := hex.DecodeString(digits)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		if repeated {
			n, err := strconv.Atoi(times)
			if err != nil || len(p) != 1 {
				return nil, fmt.Errorf("%s: not of the form xx*n", word)
			}
			p = bytes.Repeat(p, n)
		}
		b = append(b, p...)
	}
	return b, nil
}

// decoder decodes examples. Its results are the lines that the example must have, and the bytes
// that the code makes of the decoded values.
type decoder struct {
	t     *testing.T
	lines []string
	asm   map[string]*assembled
}

// assembled is a packet whose fragments come one example after the other.
type assembled struct {
	body  []byte
	total int
}

func (d *decoder) add(name string, value any) {
	var s string
	switch v := value.(type) {
	case []byte:
		s = strconv.Quote(string(v))
		if len(v) > 100 {
			s = fmt.Sprintf("%02x*%d", v[0], len(v))
			require.Equal(d.t, bytes.Repeat(v[:1], len(v)), v)
		}
	case string:
		s = strconv.Quote(v)
	default:
		s = fmt.Sprint(v)
	}
	d.lines = append(d.lines, name+": "+s)
}

// metadata adds a line with the pairs of a list, if there are any.
func (d *decoder) metadata(l pairs.List) {
	if len(l) == 0 {
		return
	}
	require.NoError(d.t, CheckMetadata("example", l, MaxMetadata))
	var all []string
	for key, value := range l.All() {
		all = append(all, fmt.Sprintf("%q=%q", key, value))
	}
	d.lines = append(d.lines, "metadata: "+strings.Join(all, " "))
}

// handshake decodes a handshake packet.
func (d *decoder) handshake(b []byte) (again []byte) {
	t := d.t
	server := b[1] == typeConn
	id, n, err := ParseHandshakeHeader(b, server)
	require.NoError(t, err)
	body := b[HandshakeHeaderLen:]
	require.Len(t, body, n)
	var w *Settings
	var more []string // behind the offer
	hexLine := func(name string, b []byte) { more = append(more, name+": "+hex.EncodeToString(b)) }
	number := func(name string, n uint64) { more = append(more, fmt.Sprint(name, ": ", n)) }
	if server {
		c, err := ParseConn(id, body)
		require.NoError(t, err)
		d.lines = append(d.lines, "packet: conn")
		d.add("packet id", id)
		d.add("length", n)
		d.add("heartbeat exponent", c.HeartbeatExponent)
		d.add("client id", c.ClientID)
		d.add("meta", c.Meta)
		d.metadata(c.Metadata)
		if c.Methods != nil {
			d.add("methods", c.Methods)
		}
		w = c.Settings
		if r := c.Resume; r != nil {
			hexLine("resume", r.ID)
			number("attempt", r.Attempt)
			number("received", r.Received)
			hexLine("proof", r.Proof)
			require.Equal(t, Proof(exampleSecret, RoleClient, r.ID, r.Attempt, r.Received), r.Proof)
		}
		again, err = AppendConn(nil, c)
		require.NoError(t, err)
	} else {
		a, err := ParseConnAck(id, body)
		require.NoError(t, err)
		d.lines = append(d.lines, "packet: connack")
		d.add("packet id", id)
		d.add("length", n)
		d.add("refused", a.Refused)
		d.add("client id", a.ClientID)
		if a.Refused {
			d.add("error", a.Error)
			d.add("code", a.Code)
			if a.Retry != 0 {
				d.add("retry", a.Retry.Milliseconds())
			}
		}
		d.metadata(a.Metadata)
		if a.Methods != nil {
			d.add("methods", a.Methods)
		}
		w = a.Settings
		if k := a.Ticket; k != nil {
			hexLine("ticket", k.ID)
			hexLine("secret", k.Secret)
			number("keep", uint64(k.Keep))
			require.Equal(t, exampleSecret, k.Secret)
		}
		if r := a.Resumed; r != nil {
			number("resumed", r.Received)
			hexLine("proof", r.Proof)
			require.Equal(t, Proof(exampleSecret, RoleServer, exampleID, 1, r.Received), r.Proof)
		}
		again, err = AppendConnAck(nil, a)
		require.NoError(t, err)
	}
	if w != nil {
		d.add("frame", w.MaxFrame)
		d.add("message", w.MaxMessage)
		d.add("streams", w.MaxStreams)
		d.add("raw", w.Raw)
		d.add("messages", w.Messages)
		d.add("handlers", w.Handlers)
		d.add("large", w.Large)
		if w.MaxMetadata != 0 {
			d.add("metadata", w.MaxMetadata)
		}
		if w.Session != nil {
			d.add("session", w.Session)
		}
		if w.Log != 0 {
			d.add("log", w.Log)
			d.add("features", w.Features)
		}
	}
	d.lines = append(d.lines, more...)
	return again
}

// exampleID and exampleSecret are those of the ticket in the examples.
var (
	exampleID     = []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")
	exampleSecret = []byte(" !\"#$%&'()*+,-./0123456789:;<=>?")
)

// frame decodes a frame that from has sent.
func (d *decoder) frame(from string, b []byte) (h Header, again []byte) {
	t := d.t
	h, err := ParseHeader(b, DefaultMaxFrame)
	require.NoError(t, err)
	p := b[HeaderLen:]
	require.Len(t, p, int(h.Length))
	d.lines = append(d.lines, "frame: "+h.Type.String(), "flags: "+flagNames(h))
	d.add("stream", h.Stream)
	d.add("length", h.Length)
	switch {
	case !h.Type.Known():
		d.add("ignored", p)
		return h, append(AppendHeader(nil, h), p...)
	case h.Type.IsPacket():
		return h, d.packet(from, h, p)
	}
	switch h.Type {
	case TypePing, TypePong, TypeReceived:
		v, err := ParsePing(h.Type, p)
		require.NoError(t, err)
		name := "value"
		if h.Type == TypeReceived {
			name = "position"
		}
		d.add(name, v)
		return h, AppendPing(nil, h.Type, v)
	case TypeCredit:
		c, err := ParseCredit(p, h.Stream)
		require.NoError(t, err)
		d.lines = append(d.lines, "class: "+c.Class.String())
		d.add("amount", c.Amount)
		return h, AppendCredit(nil, h.Stream, c)
	case TypeOpen:
		o, err := ParseOpen(p)
		require.NoError(t, err)
		d.windows(o.Windows)
		d.add("peer", o.Peer)
		d.metadata(o.Metadata)
		d.add("meta", o.Meta)
		return h, AppendOpen(nil, h.Stream, o)
	case TypeAccept:
		w, err := ParseAccept(p)
		require.NoError(t, err)
		d.windows(w)
		return h, AppendAccept(nil, h.Stream, w)
	case TypeData:
		d.add("bytes", p)
		return h, append(AppendHeader(nil, h), p...)
	default:
		n, err := ParseReason(h.Type, p)
		require.NoError(t, err)
		d.add("code", n.Code)
		d.add("retry", int64(n.Retry/time.Millisecond))
		d.add("text", n.Text)
		return h, AppendReason(nil, h.Type, h.Stream, n)
	}
}

func (d *decoder) windows(w Windows) {
	d.add("raw", w.Raw)
	d.add("messages", w.Messages)
}

// packet decodes the payload of a packet frame.
func (d *decoder) packet(from string, h Header, p []byte) (again []byte) {
	f, err := ParseFragmentHeader(p, h)
	require.NoError(d.t, err)
	d.add("number", f.Seq)
	piece := p[FragmentHeaderLen(h):]
	again = AppendFragmentHeader(AppendHeader(nil, h), f, h.Flags)
	if h.Flags&(FlagMore|FlagNext) == 0 {
		again = append(again, d.body(h.Type, piece)...)
		PutLength(again)
		return again
	}

	key := fmt.Sprint(from, h.Stream, h.Type, f.Seq)
	a := d.asm[key]
	if h.Flags&FlagNext == 0 {
		require.Nil(d.t, a)
		a = &assembled{total: int(f.Total)}
		d.asm[key] = a
		d.add("total", f.Total)
	}
	require.NotNil(d.t, a, "no first fragment")
	d.add("piece", len(piece))
	a.body = append(a.body, piece...)
	if h.Flags&FlagMore == 0 {
		delete(d.asm, key)
		require.Len(d.t, a.body, a.total)
		d.add("whole", len(a.body))
		require.Equal(d.t, a.body, d.body(h.Type, a.body))
	}
	again = append(again, piece...)
	PutLength(again)
	return again
}

// body decodes the body of a packet of type typ.
func (d *decoder) body(typ Type, b []byte) (again []byte) {
	t := d.t
	switch typ {
	case TypeRequest:
		r, err := ParseRequest(b)
		require.NoError(t, err)
		d.add("id", r.ID)
		d.add("timeout", int64(r.Timeout))
		d.add("method", r.Method)
		d.metadata(r.Metadata)
		d.add("custom", r.Custom)
		d.add("data", r.Data)
		return append(r.Append(nil), r.Data...)
	case TypeResponse:
		r, err := ParseResponse(b)
		require.NoError(t, err)
		d.add("code", r.Code)
		d.add("text", r.Text)
		d.metadata(r.Metadata)
		d.add("custom", r.Custom)
		d.add("data", r.Data)
		return append(r.Append(nil), r.Data...)
	case TypeMessage:
		m, err := ParseMessage(b)
		require.NoError(t, err)
		d.add("id", m.ID)
		d.add("timeout", int64(m.Timeout))
		d.add("cnss", m.Cnss)
		d.add("topic", m.Topic)
		d.metadata(m.Metadata)
		d.add("custom", m.Custom)
		d.add("data", m.Data)
		return append(m.Append(nil), m.Data...)
	case TypeRegister:
		d.add("method", b)
		return b
	case TypeAbandon:
		abandoned, err := ParseAbandon(b)
		require.NoError(t, err)
		d.lines = append(d.lines, "abandoned: "+abandoned.String())
		return []byte{byte(abandoned)}
	default:
		a, err := ParseAnswer(typ, b)
		require.NoError(t, err)
		d.add("code", a.Code)
		d.add("text", a.Text)
		return a.Append(nil)
	}
}

// flagNames returns the names of h's flags.
func flagNames(h Header) string {
	names := []string{"fin", "close"}
	switch {
	case !h.Type.Known():
		return fmt.Sprintf("0x%02x", uint8(h.Flags))
	case h.Flags == 0:
		return "none"
	case h.Type != TypeData:
		names = []string{"more", "next", "shared"}
	}
	var set []string
	for i, name := range names {
		if h.Flags&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, " ")
}

// TestWireMDExamples decodes every example, compares the fields, and encodes it
// again.
func TestWireMDExamples(t *testing.T) {
	seen := make(map[string]int)
	names := make(map[string]bool)
	asm := make(map[string]*assembled)
	for _, e := range examples(t, readWireMD(t)) {
		t.Run(e.name, func(t *testing.T) {
			require.False(t, names[e.name], "two examples have this name")
			names[e.name] = true
			d := &decoder{t: t, asm: asm}
			var again []byte
			switch e.kind {
			case "handshake":
				again = d.handshake(e.bytes)
				seen[d.lines[0]]++
			case "frame":
				var h Header
				h, again = d.frame(e.from, e.bytes)
				seen[h.Type.String()]++
			default:
				require.Fail(t, "unknown kind", e.kind)
			}
			require.Equal(t, strings.Join(d.lines, "\n"), strings.Join(e.fields, "\n"))
			require.Equal(t, hex.EncodeToString(e.bytes), hex.EncodeToString(again))
		})
	}
	assert.Empty(t, asm, "packets without a last fragment")

	wanted := []string{"packet: conn", "packet: connack", "type 0xc1"}
	for _, name := range typeNames {
		wanted = append(wanted, name)
	}
	for _, name := range wanted {
		assert.Positive(t, seen[name], "no example of %s", name)
	}
}

// TestWireMDSession checks that the frames of the session go together.
func TestWireMDSession(t *testing.T) {
	type number struct {
		from   string
		typ    Type
		stream uint64
		value  uint64
	}
	type half struct {
		from   string
		stream uint64
	}
	waiting := make(map[number]bool)
	opened := make(map[uint64]string) // the side that opened it
	open := map[half]bool{{"client", 1}: true, {"server", 1}: true}
	other := map[string]string{"client": "server", "server": "client"}
	answered := map[Type]Type{TypeResponse: TypeRequest, TypeAck: TypeMessage, TypeRegistered: TypeRegister, TypePong: TypePing}
	over := make(map[string]bool) // the sides for which it has ended
	var kinds []string
	for _, e := range examples(t, readWireMD(t)) {
		if !strings.HasPrefix(e.name, "session-") {
			continue
		}
		kinds = append(kinds, e.kind+" "+e.from)
		require.Equal(t, fmt.Sprintf("session-%02d", len(kinds)), e.name)
		require.Contains(t, other, e.from, e.name)
		if e.kind != "frame" {
			continue
		}
		h, err := ParseHeader(e.bytes, DefaultMaxFrame)
		require.NoError(t, err)
		require.False(t, over[e.from], "%s comes after close", e.name)
		n := number{e.from, h.Type, h.Stream, 0}
		if h.Length >= 8 {
			n.value = binary.BigEndian.Uint64(e.bytes[HeaderLen:])
		}
		switch h.Type {
		case TypeOpen:
			require.Equal(t, e.from == "client", h.Stream%2 == 1, e.name)
			opened[h.Stream] = e.from
			continue
		case TypeAccept:
			require.Equal(t, other[e.from], opened[h.Stream], e.name)
			open[half{"client", h.Stream}], open[half{"server", h.Stream}] = true, true
			continue
		case TypeClose:
			over[e.from] = true
		case TypeRequest, TypeMessage, TypeRegister, TypePing:
			waiting[n] = true
		case TypeResponse, TypeAck, TypeRegistered, TypePong:
			n.from, n.typ = other[e.from], answered[h.Type]
			require.True(t, waiting[n], "%s answers nothing", e.name)
			delete(waiting, n)
		}
		if h.Type > TypeCredit {
			require.True(t, open[half{e.from, h.Stream}], "%s: the stream is not open", e.name)
		}
		if h.Type == TypeData && h.Flags&FlagClose != 0 {
			delete(open, half{e.from, h.Stream})
		}
	}
	require.GreaterOrEqual(t, len(kinds), 10)
	require.Equal(t, []string{"handshake client", "handshake server"}, kinds[:2])
	require.Empty(t, waiting, "not answered")
	require.Equal(t, map[half]bool{{"client", 1}: true, {"server", 1}: true}, open)
	require.Len(t, over, 2)
}

// rows returns the rows of the tables of the text whose first cell matches, as
// their first n cells.
func rows(text, first string, n int) (all []string) {
	line := regexp.MustCompile(`(?m)^\| (` + first + `)` + strings.Repeat(` \| ([^|\n]*?)`, n-1) + ` \|.*$`)
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Join(m[1:], " | "))
	}
	return all
}

// section returns the text below a heading, up to the next heading of any level.
func section(t *testing.T, text, heading string) string {
	_, text, ok := strings.Cut(text, "\n"+heading+"\n")
	require.True(t, ok, heading)
	text, _, _ = strings.Cut(text, "\n#")
	return text
}

// TestWireMDTables compares the tables of types, classes, codes and keys with the
// code.
func TestWireMDTables(t *testing.T) {
	text := readWireMD(t)

	var want []string
	for typ := range 256 {
		if Type(typ).Known() {
			flags := "none"
			switch {
			case Type(typ) == TypeData:
				flags = "fin, close"
			case Type(typ) == TypeMessage:
				flags = "more, next, shared"
			case Type(typ).Fragmented():
				flags = "more, next"
			}
			want = append(want, fmt.Sprintf("0x%02x | %v | %s", typ, Type(typ), flags))
		}
	}
	var got []string
	for _, row := range rows(section(t, text, "## Frames"), "0x[0-9a-f]{2}", 4) {
		cells := strings.Split(row, " | ")
		got = append(got, strings.Join([]string{cells[0], cells[1], cells[3]}, " | "))
	}
	assert.Equal(t, want, got)

	want = nil
	for class := range Classes {
		want = append(want, fmt.Sprintf("%d | %v", class, class))
	}
	assert.Equal(t, want, rows(section(t, text, "## Credit"), `\d+`, 2))

	want = nil
	for code, name := range map[geminio.Code]string{
		geminio.CodeOK: "OK", geminio.CodeApplication: "Application", geminio.CodeCanceled: "Canceled",
		geminio.CodeDeadline: "Deadline", geminio.CodeNoMethod: "NoMethod", geminio.CodePanic: "Panic",
		geminio.CodeLimit: "Limit", geminio.CodeTooLarge: "TooLarge", geminio.CodeVersion: "Version",
		geminio.CodeProtocol: "Protocol", geminio.CodeGoingAway: "GoingAway", geminio.CodeClosed: "Closed",
		geminio.CodeReplaced: "Replaced", geminio.CodeInvalid: "Invalid",
	} {
		want = append(want, fmt.Sprintf("%d | %s", code, name))
	}
	assert.ElementsMatch(t, want, rows(section(t, text, "## Codes"), `\d+`, 2))

	want = nil
	for _, key := range offerKeys {
		want = append(want, "`"+key+"`")
	}
	assert.Equal(t, want, rows(section(t, text, "### The offer"), "`[a-z]+`", 1))
}
