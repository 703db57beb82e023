package conn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/gauge"
	"github.com/singchia/geminio/test/kit"
)

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var online atomic.Int32
		serverCfg, clientCfg := testConfig(), testConfig()
		serverCfg.Settings.Raw, clientCfg.Settings.Raw = 1000, 2000
		clientCfg.ClientID, clientCfg.Meta = 99, []byte("some meta")
		serverCfg.Admit = func(c *Conn, _, wanted uint64, _ <-chan struct{}) (uint64, error) {
			meta := c.Meta()
			assert.EqualValues(t, 99, wanted)
			assert.Equal(t, "some meta", string(meta))
			return 100, nil
		}
		serverCfg.Online = func(c *Conn) error {
			assert.EqualValues(t, 100, c.ClientID())
			assert.EqualValues(t, 0, online.Add(1)-1, "calls of Online before this one; the server's comes first")
			return nil
		}
		clientCfg.Online = func(c *Conn) error {
			assert.EqualValues(t, 100, c.ClientID())
			assert.EqualValues(t, 1, online.Add(1)-1)
			return nil
		}
		for _, cfg := range []*Config{serverCfg, clientCfg} {
			cfg.Offline = func(*Conn) { t.Error("offline") }
		}
		server := shake(geminio.RecipientSide, near, serverCfg)
		client := shake(geminio.InitiatorSide, far, clientCfg)
		s, c := <-server, <-client
		require.NoError(t, s.err)
		require.NoError(t, c.err)
		for _, r := range []result{s, c} {
			assert.EqualValues(t, 100, r.c.ClientID())
			assert.Equal(t, "some meta", string(r.c.Meta()))
			assert.Equal(t, Handshaking, r.c.State())
			assert.Equal(t, "pipe", r.c.LocalAddr().String())
			assert.Equal(t, "pipe", r.c.RemoteAddr().String())
		}
		assert.Equal(t, geminio.RecipientSide, s.c.Side())
		assert.Equal(t, geminio.InitiatorSide, c.c.Side())
		assert.Equal(t, clientCfg.Settings, *s.c.Peer())
		assert.Equal(t, serverCfg.Settings, *c.c.Peer())
		assert.Equal(t, serverCfg.Settings, *s.c.Local())
		assert.EqualValues(t, 2, online.Load())
		near.Close()
		far.Close()
	})
}

// raw returns a handshake packet of any form.
func raw(version, typ byte, length uint32, body string) []byte {
	b := []byte{version, typ, 0, 0, 0, 0, 0, 0, 0, 1}
	return append(binary.BigEndian.AppendUint32(b, length), body...)
}

// wellFormed is raw with the length of the body.
func wellFormed(typ byte, body string) []byte { return raw(1, typ, uint32(len(body)), body) }

func TestBrokenHandshakes(t *testing.T) {
	const connType, ackType = 1, 2
	fixed := map[geminio.Side]string{
		geminio.RecipientSide: "\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		geminio.InitiatorSide: "\x00\x00\x00\x00\x00\x00\x00\x00\x07",
	}
	for _, side := range []geminio.Side{geminio.RecipientSide, geminio.InitiatorSide} {
		mine, other := byte(connType), byte(ackType)
		if side == geminio.InitiatorSide {
			mine, other = other, mine
		}
		for _, test := range []struct {
			name  string
			bytes []byte
			want  string
			is    error
		}{
			{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), "begins with 47 45", nil},
			{"another version", wellFormed(mine, fixed[side]+"{}")[1:], "", nil},
			{"version 2", raw(2, mine, 2, "{}"), "begins with 02", nil},
			{"the other side's packet", wellFormed(other, fixed[side]+"{}"), "begins with 01", nil},
			{"an unknown type", wellFormed(0x7f, fixed[side]+"{}"), "begins with 01 7f", nil},
			{"too large", raw(1, mine, 64<<10+1, ""), "length 65537 exceeds 65536", packet.ErrPacketTooLarge},
			{"much too large", raw(1, mine, 1<<32-1, ""), "exceeds 65536", packet.ErrPacketTooLarge},
			{"an empty body", raw(1, mine, 0, ""), "beyond the end at 0 bytes", nil},
			{"a short body", wellFormed(mine, fixed[side][1:]), "beyond the end", nil},
			{"no JSON", wellFormed(mine, fixed[side]), "JSON", nil},
			{"broken JSON", wellFormed(mine, fixed[side]+`{"wire2":{`), "JSON", nil},
			{"other JSON", wellFormed(mine, fixed[side]+`{"wire2":7}`), `the value of "wire2"`, nil},
			{"impossible limits", wellFormed(mine, fixed[side]+`{"wire2":{"frame":10}}`), "largest frame of 10 bytes", nil},
			{"no header", nil, "", io.ErrUnexpectedEOF},
			{"half a header", raw(1, mine, 5, "")[:7], "", io.ErrUnexpectedEOF},
			{"no body", raw(1, mine, 5, ""), "", io.ErrUnexpectedEOF},
			{"half a body", raw(1, mine, 500, "abc"), "", io.ErrUnexpectedEOF},
		} {
			t.Run(side.String()+" "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					cfg := testConfig()
					cfg.Online = func(*Conn) error { t.Error("online"); return nil }
					cfg.Offline = func(*Conn) { t.Error("offline") }
					ch := shake(side, near, cfg)
					if side == geminio.InitiatorSide {
						_, err := io.ReadFull(far, make([]byte, packet.HandshakeHeaderLen))
						require.NoError(t, err)
						go io.Copy(io.Discard, far)
					}
					go func() {
						far.Write(test.bytes)
						if errors.Is(test.is, io.ErrUnexpectedEOF) || test.name == "another version" {
							far.Close()
						}
					}()
					start := time.Now()
					r := <-ch
					require.Error(t, r.err)
					assert.Nil(t, r.c)
					assert.ErrorContains(t, r.err, test.want)
					assert.Equal(t, !errors.Is(test.is, io.ErrUnexpectedEOF), errors.Is(r.err, geminio.ErrProtocol), "the peer has broken the protocol")
					if test.is != nil {
						assert.ErrorIs(t, r.err, test.is)
					}
					var refused *geminio.RefusedError
					assert.False(t, errors.As(r.err, &refused), "the error is a *RefusedError, though the peer is broken")
					assert.Zero(t, time.Since(start), "the time until the handshake failed")
					_, err := near.Write([]byte{1})
					assert.Error(t, err, "Write to the transport after the handshake failed")
				})
			})
		}
	}
}

func TestClientIsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(cfg *Config)
	}{
		{"by Admit", func(cfg *Config) {
			cfg.Admit = func(*Conn, uint64, uint64, <-chan struct{}) (uint64, error) {
				return 0, errors.New("not you: \"quoted\"")
			}
		}},
		{"by Online", func(cfg *Config) {
			cfg.Online = func(*Conn) error { return errors.New("not you: \"quoted\"") }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				cfg, clientCfg := testConfig(), testConfig()
				test.change(cfg)
				for _, c := range []*Config{cfg, clientCfg} {
					c.Offline = func(*Conn) { t.Error("offline") }
				}
				clientCfg.Online = func(*Conn) error { t.Error("online"); return nil }
				server, client := shake(geminio.RecipientSide, near, cfg), shake(geminio.InitiatorSide, far, clientCfg)
				s, c := <-server, <-client
				assert.ErrorContains(t, s.err, "client refused: not you")
				var refused *geminio.RefusedError
				require.ErrorAs(t, c.err, &refused)
				assert.Equal(t, "not you: \"quoted\"", c.err.Error(), "the text of the server, unchanged")
				assert.Equal(t, geminio.CodeApplication, refused.Code)
			})
		})
	}
}

func TestOldPeersAreTold(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			cfg := testConfig()
			cfg.Admit = func(*Conn, uint64, uint64, <-chan struct{}) (uint64, error) { t.Error("admit"); return 1, nil }
			server := shake(geminio.RecipientSide, near, cfg)
			p := &peer{t, far}
			p.write(helloBytes(t, packet.Conn{PacketID: 7, Meta: []byte("m")}), "a hello of wire 1")
			ack, err := kit.ReadConnAck(far)
			require.NoError(t, err)
			assert.EqualValues(t, 7, ack.PacketID)
			assert.True(t, ack.Refused)
			assert.EqualValues(t, geminio.CodeVersion, ack.Code)
			assert.Contains(t, ack.Error, "the client speaks wire 1 only")
			p.wantEnd("closed")
			assert.ErrorIs(t, (<-server).err, geminio.ErrVersion)
		})
	})
	t.Run("server", func(t *testing.T) {
		withAck(t, packet.ConnAck{ClientID: 7}, nil, func(t *testing.T, r result) {
			assert.ErrorIs(t, r.err, geminio.ErrVersion)
			assert.ErrorContains(t, r.err, "the server speaks wire 1 only")
			var refused *geminio.RefusedError
			assert.False(t, errors.As(r.err, &refused))
		})
	})
	t.Run("a server that refuses with a text alone", func(t *testing.T) {
		withAck(t, packet.ConnAck{Error: "go away"}, nil, func(t *testing.T, r result) {
			var refused *geminio.RefusedError
			require.ErrorAs(t, r.err, &refused)
			assert.Equal(t, "go away", r.err.Error())
		})
	})
	t.Run("a newer server that refuses the version", func(t *testing.T) {
		withAck(t, packet.ConnAck{Refused: true, Code: uint32(geminio.CodeVersion), Error: "wire 3 only"}, nil, func(t *testing.T, r result) {
			var refused *geminio.RefusedError
			require.ErrorAs(t, r.err, &refused)
			assert.ErrorIs(t, r.err, geminio.ErrVersion)
		})
	})
	t.Run("a server that gives no id", func(t *testing.T) {
		withAck(t, packet.ConnAck{Settings: &testConfig().Settings}, nil, func(t *testing.T, r result) {
			assert.ErrorContains(t, r.err, "client id of 0")
		})
	})
}

// withAck runs a test with the result of a client's handshake that was answered with ack.
func withAck(t *testing.T, ack packet.ConnAck, change func(*Config), test func(t *testing.T, r result)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		cfg := testConfig()
		if change != nil {
			change(cfg)
		}
		ch := shake(geminio.InitiatorSide, near, cfg)
		hello, err := kit.ReadConn(far)
		require.NoError(t, err)
		ack.PacketID = hello.PacketID
		(&peer{t, far}).write(ackBytes(t, ack), "the answer")
		test(t, <-ch)
		near.Close()
	})
}

func TestOnlineErrorAtTheClient(t *testing.T) {
	bad := errors.New("not this server")
	offline := 0
	withAck(t, packet.ConnAck{ClientID: 7, Settings: &testConfig().Settings}, func(cfg *Config) {
		cfg.Online = func(c *Conn) error { return bad }
		cfg.Offline = func(*Conn) { offline++ }
	}, func(t *testing.T, r result) {
		assert.ErrorIs(t, r.err, bad)
		assert.ErrorContains(t, r.err, "ConnOnline: not this server")
		assert.Zero(t, offline, "calls of Offline without Online")
	})
}

func TestOfflineAfterOnlineOnce(t *testing.T) {
	t.Run("the client does not wait for the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			offline := 0
			cfg := testConfig()
			cfg.Online = func(*Conn) error { return nil }
			cfg.Offline = func(c *Conn) {
				offline++
				assert.EqualValues(t, 42, c.ClientID())
			}
			ch := shake(geminio.RecipientSide, near, cfg)
			(&peer{t, far}).write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
			far.Close()
			assert.Error(t, (<-ch).err)
			assert.Equal(t, 1, offline)
		})
	})
	t.Run("the client does not read the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			offline := 0
			cfg := testConfig()
			cfg.Online = func(*Conn) error { return nil }
			cfg.Offline = func(*Conn) { offline++ }
			ch := shake(geminio.RecipientSide, near, cfg)
			(&peer{t, far}).write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
			start := time.Now()
			assert.ErrorIs(t, (<-ch).err, geminio.ErrHandshakeTimeout)
			assert.Equal(t, cfg.HandshakeTimeout, time.Since(start))
			assert.Equal(t, 1, offline)
		})
	})
	t.Run("the client's own Online takes too long", func(t *testing.T) {
		offline := 0
		withAck(t, packet.ConnAck{ClientID: 7, Settings: &testConfig().Settings}, func(cfg *Config) {
			cfg.Online = func(*Conn) error { time.Sleep(time.Minute); return nil }
			cfg.Offline = func(*Conn) { offline++ }
		}, func(t *testing.T, r result) {
			assert.ErrorIs(t, r.err, geminio.ErrHandshakeTimeout)
			assert.Equal(t, 1, offline)
		})
	})
}

func TestMetaTooLarge(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	cfg := testConfig()
	cfg.Meta = make([]byte, 60<<10)
	_, err := Client(near, cfg)
	assert.ErrorIs(t, err, geminio.ErrTooLarge)
	assert.ErrorIs(t, err, packet.ErrPacketTooLarge)
}

func TestSilentPeer(t *testing.T) {
	for _, side := range []geminio.Side{geminio.RecipientSide, geminio.InitiatorSide} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			start := time.Now()
			go io.Copy(io.Discard, far)
			r := <-shake(side, near, testConfig())
			assert.ErrorIs(t, r.err, geminio.ErrHandshakeTimeout)
			assert.ErrorContains(t, r.err, "10s")
			assert.Equal(t, 10*time.Second, time.Since(start))
			far.Close()
		})
	}
}

// Peers that send a byte now and then are disconnected at the handshake timeout. Their memory
// follows the bytes that they sent, and not those that they announced.
func TestSlowloris(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 300
		before := gauge.Take().Heap
		start := time.Now()
		var results []<-chan result
		for range peers {
			near, far := net.Pipe()
			results = append(results, shake(geminio.RecipientSide, near, testConfig()))
			go func() {
				hello := raw(1, 1, 64<<10, "")
				if _, err := far.Write(append(hello, make([]byte, 100)...)); err != nil {
					t.Error(err)
				}
				for {
					if _, err := far.Write([]byte{0}); err != nil {
						return
					}
					time.Sleep(time.Minute)
				}
			}()
		}
		synctest.Wait()
		assert.Less(t, gauge.Take().Heap-before, int64(peers*16<<10), "bytes of the heap for %d peers, each of which announced 64 KiB", peers)
		for _, ch := range results {
			assert.ErrorIs(t, (<-ch).err, geminio.ErrHandshakeTimeout)
		}
		assert.Equal(t, 10*time.Second, time.Since(start))
		time.Sleep(time.Minute)
	})
}

// Frames that follow the handshake in the same segment are not lost.
func TestNothingIsReadBeyondTheHandshake(t *testing.T) {
	for _, side := range []geminio.Side{geminio.RecipientSide, geminio.InitiatorSide} {
		t.Run(side.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				cfg := testConfig()
				ch := shake(side, near, cfg)
				var first []byte
				if side == geminio.RecipientSide {
					first = helloBytes(t, packet.Conn{PacketID: 1, Settings: &cfg.Settings})
				} else {
					_, err := far.Read(make([]byte, 4096))
					require.NoError(t, err)
					first = ackBytes(t, packet.ConnAck{ClientID: 7, Settings: &cfg.Settings})
				}
				frames := append(dataFrame(1, 2, 3), dataFrame(bytes.Repeat([]byte{4}, 5000)...)...)
				wrote := make(chan error, 1)
				go func() {
					_, err := far.Write(append(first, frames...))
					wrote <- err
				}()
				if side == geminio.RecipientSide {
					_, err := far.Read(make([]byte, 4096))
					require.NoError(t, err)
				}
				r := <-ch
				require.NoError(t, r.err)
				u := &fakeHandler{c: r.c, over: make(chan struct{})}
				r.c.Start(u)
				go u.run()
				require.NoError(t, <-wrote)
				synctest.Wait()
				got := u.seen().got
				require.Len(t, got, 2)
				assert.Equal(t, []byte{1, 2, 3}, got[0].payload)
				assert.Len(t, got[1].payload, 5000)
				far.Close()
				<-u.over
			})
		})
	}
}

func TestBeatExponent(t *testing.T) {
	for d, want := range map[time.Duration]uint8{
		0: 0, time.Second: 0, 5 * time.Second: 0, 19 * time.Second: 0, 20 * time.Second: 1,
		79 * time.Second: 1, 80 * time.Second: 2, 320 * time.Second: 3, time.Hour: 3,
	} {
		assert.Equal(t, want, beatExponent(d), d)
	}
}
