package conn

// DefaultMaxPacketSize is the length of the longest packet that the earlier library took
// by default, in bytes. This library bounds nothing by it: see SetMaxMessageSize of the
// options.
const DefaultMaxPacketSize = 10 << 20
