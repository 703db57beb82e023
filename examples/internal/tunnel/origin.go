package tunnel

import (
	"net"
	"strings"
)

// Origin describes the TCP connection of a client. It travels as the meta of each stream on the
// way, so that every hop can log it and the last hop can send it to the service.
type Origin struct {
	Client  string // the address of the TCP client
	Address string // the address that the client connected to
	// confirm asks the receiver of the stream to confirm that it has connected with the service.
	confirm bool
}

// OriginOf returns the Origin of a connection that was accepted.
func OriginOf(c net.Conn) Origin {
	return Origin{Client: c.RemoteAddr().String(), Address: c.LocalAddr().String()}
}

// flagConfirm is the third field of a meta whose confirm is set.
const flagConfirm = "confirm"

// meta encodes an Origin as fields with spaces between them.
func (o Origin) meta() []byte {
	text := o.Client + " " + o.Address
	if o.confirm {
		text += " " + flagConfirm
	}
	return []byte(text)
}

// parseOrigin decodes a meta. Fields that are missing are empty.
func parseOrigin(meta []byte) Origin {
	fields := strings.SplitN(string(meta), " ", 3)
	fields = append(fields, "", "", "")
	return Origin{Client: fields[0], Address: fields[1], confirm: fields[2] == flagConfirm}
}
