package main

// What the server and the devices say to each other.
//
//   - A device connects with its name and token as the metadata of the handshake. The server answers
//     with the client id that belongs to the name, or refuses the device.
//   - A device publishes its readings, one after the other, each with the next number. The server
//     acknowledges a reading when it is stored.
//   - The server calls the methods getStatus and doReboot of a device.
//   - The server kicks a device by ending its connection with codeKicked and a reason. It refuses
//     the device with the same code and reason until the kick is over.

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/typed"
)

// The methods and the topic. Their data is JSON.
var (
	getStatus = typed.Method[struct{}, status]{Name: "status"}
	doReboot  = typed.Method[reboot, rebooted]{Name: "reboot"}
	readings  = typed.Topic[reading]{Name: "readings"}
)

// codeKicked is the code of the end of a device that was kicked.
const codeKicked = geminio.FirstApplicationCode

// tokenVariable is the environment variable with the token.
const tokenVariable = "FLEET_TOKEN"

// The keys of the metadata of a device's handshake.
const (
	keyName  = "name"
	keyToken = "token"
)

// idOf returns the client id of the device with a name. It is the same on every server, and after
// every restart.
func idOf(name string) uint64 {
	sum := sha256.Sum256([]byte("fleet " + name))
	return max(binary.BigEndian.Uint64(sum[:])>>1, 1)
}

// reading is a measurement of a device.
type reading struct {
	Device string    `json:"device"` // set by the server
	Boot   string    `json:"boot"`   // random, the same for all readings between two boots of the device
	Number uint64    `json:"number"` // 1, 2, 3 and so on since the boot
	Time   time.Time `json:"time"`
	Value  float64   `json:"value"`
}

// status is the answer to getStatus.
type status struct {
	Boot    string        `json:"boot"`
	Uptime  time.Duration `json:"uptime"`  // in ns
	Acked   uint64        `json:"acked"`   // readings that the server has stored, since the program has started
	Waiting int           `json:"waiting"` // readings that the server has not stored
}

// reboot is the request of doReboot.
type reboot struct {
	Reason string `json:"reason"`
}

// rebooted is the answer to doReboot.
type rebooted struct {
	Boot string `json:"boot"` // the new one
}
