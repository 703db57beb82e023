package delegate_test

import (
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// doorman admits clients that know the word, and refuses streams to the cellar.
type doorman struct {
	*delegate.UnimplementedDelegate // answers what is not below
}

func (doorman) GetClientID(wanted uint64, meta []byte) (uint64, error) {
	if string(meta) != "sesame" {
		return 0, errors.New("wrong word")
	}
	return wanted, nil // 0, if it wants none, leaves the choice to the library
}

func (doorman) DialogueOnline(d delegate.DialogueDescriber) error {
	if string(d.Meta()) == "the cellar" {
		return errors.New("the cellar is closed")
	}
	return nil
}

// diary follows what becomes of a client's connection.
type diary struct {
	*delegate.UnimplementedDelegate
	over chan struct{}
}

func (diary) ConnOnline(c delegate.ConnDescriber) error {
	fmt.Printf("client %d is online\n", c.ClientID())
	return nil
}

func (d diary) ConnOffline(c delegate.ConnDescriber) error {
	fmt.Printf("client %d is offline\n", c.ClientID())
	close(d.over)
	return nil
}

// Embed a pointer to UnimplementedDelegate, which may be nil, and write the
// callbacks of interest.
func Example() {
	guarded := server.NewEndOptions()
	guarded.SetDelegate(doorman{})
	l, err := server.Listen("tcp", "127.0.0.1:0", guarded)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	dial := func(opt *client.EndOptions) (geminio.End, error) {
		return client.NewEndWithDialer(func() (net.Conn, error) {
			return net.Dial("tcp", l.Addr().String())
		}, opt)
	}

	opt := client.NewEndOptions()
	_, err = dial(opt)
	fmt.Println("without a word:", err)

	d := diary{over: make(chan struct{})}
	opt.SetDelegate(d)
	opt.SetMeta([]byte("sesame"))
	opt.SetClientID(7)
	end, err := dial(opt)
	if err != nil {
		log.Fatal(err)
	}
	cellar := options.OpenStream()
	cellar.SetMeta([]byte("the cellar"))
	_, err = end.OpenStream(cellar)
	var refused *geminio.RefusedError
	fmt.Println("stream:", errors.As(err, &refused), err)
	end.Close()
	<-d.over
	// Output:
	// without a word: wrong word
	// client 7 is online
	// stream: true the cellar is closed
	// client 7 is offline
}
