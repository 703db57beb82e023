package endpair

import (
	"net"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

// Join shakes hands over both ends of a transport at once. If one side fails, Join closes the End
// of the other, and returns the error of the client, or else that of the server.
func Join(cc, sc net.Conn, co *client.EndOptions, so *server.EndOptions) (c, s geminio.End, err error) {
	var serr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, serr = server.NewEndWithConn(sc, so)
	}()
	c, err = client.NewEndWithConn(cc, co)
	<-done
	switch {
	case err == nil && serr == nil:
		return c, s, nil
	case err == nil:
		c.Close()
		return nil, nil, serr
	case serr == nil:
		s.Close()
	}
	return nil, nil, err
}

// Close closes both Ends at once.
func Close(c, s geminio.End) {
	var wg sync.WaitGroup
	wg.Go(func() { c.Close() })
	wg.Go(func() { s.Close() })
	wg.Wait()
}
