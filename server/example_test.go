package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
)

// echo answers with the data of the request.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// A server accepts an End for each client.
func ExampleListen() {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return // net.ErrClosed
			}
			// The server may write to the client, since both sides are equal.
			go end.Publish(context.Background(), end.NewMessage([]byte("welcome")))
		}
	}()

	end, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	msg, err := end.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	msg.Done()
	resp, err := end.Call(context.Background(), "echo", end.NewRequest([]byte("hello")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, %s\n", msg.Data(), resp.Data())
	// Output: welcome, hello
}

// The listener of a server may be any net.Listener, and the connection of a client any net.Conn.
func ExampleNewListener() {
	cert, roots := selfSigned()
	tl, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		log.Fatal(err)
	}
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	l, err := server.NewListener(tl, opt) // closes tl with itself
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	end, err := client.NewEndWithDialer(func() (net.Conn, error) {
		return tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	})
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	resp, err := end.Call(context.Background(), "echo", end.NewRequest([]byte("nobody else reads this")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())
	// Output: nobody else reads this
}

// selfSigned makes a certificate for localhost, and a pool for clients that trust it.
func selfSigned() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// A Server serves several listeners. Their clients share AcceptEnd, and Server.End finds them by id.
func ExampleServer() {
	srv := server.New()
	var addresses []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0") // of any kind: TCP, TLS, unix, WebSocket
		if err != nil {
			log.Fatal(err)
		}
		addresses = append(addresses, l.Addr().String())
		go srv.Serve(l) // returns the error of l
	}
	for i, address := range addresses {
		opt := client.NewEndOptions()
		opt.SetClientID(uint64(i + 1))
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
		end, err := client.NewEnd("tcp", address, opt)
		if err != nil {
			log.Fatal(err)
		}
		defer end.Close()
		if _, err := srv.AcceptEnd(); err != nil {
			log.Fatal(err)
		}
	}
	for id := range uint64(3) {
		end, ok := srv.End(id)
		if !ok {
			fmt.Println(id, "is offline")
			continue
		}
		resp, err := end.Call(context.Background(), "echo", end.NewRequest(fmt.Appendf(nil, "hello, %d", id)))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d answers %q\n", id, resp.Data())
	}
	srv.Close()
	// Output:
	// 0 is offline
	// 1 answers "hello, 1"
	// 2 answers "hello, 2"
}

// NewEndWithConn makes an End of one connection, without a listener.
func ExampleNewEndWithConn() {
	near, far := net.Pipe()
	go func() {
		end, err := server.NewEndWithConn(far)
		if err != nil {
			return
		}
		io.WriteString(end, "raw bytes of the End itself")
		end.Close()
	}()
	end, err := client.NewEndWithConn(near)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	text, err := io.ReadAll(end)
	fmt.Printf("%s, %v\n", text, err)
	// Output: raw bytes of the End itself, <nil>
}

// guard is a delegate that identifies clients by their tokens.
type guard struct {
	*delegate.UnimplementedDelegate
	ids  map[string]uint64 // by token
	gone chan uint64
}

func (g guard) GetClientID(_ uint64, meta []byte) (uint64, error) {
	id := g.ids[string(meta)]
	if id == 0 {
		return 0, errors.New("who are you?")
	}
	return id, nil
}

func (g guard) ConnOffline(c delegate.ConnDescriber) error {
	g.gone <- c.ClientID()
	return nil
}

// A delegate decides which clients are accepted and which ids they get, and learns when they
// leave.
func ExampleEndOptions_SetDelegate() {
	g := guard{ids: map[string]uint64{"sesame": 7}, gone: make(chan uint64, 1)}
	opt := server.NewEndOptions()
	opt.SetDelegate(g)
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	for _, token := range []string{"barley", "sesame"} {
		opt := client.NewEndOptions()
		opt.SetMeta([]byte(token))
		end, err := client.NewEnd("tcp", l.Addr().String(), opt)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println("client", end.ClientID())
		end.Close()
	}
	fmt.Println("gone:", <-g.gone)
	// Output:
	// refused: who are you?
	// client 7
	// gone: 7
}

// A server passes every stream that a client opens to a function.
func ExampleEndOptions_SetAcceptStreamFunc() {
	opt := server.NewEndOptions()
	opt.SetAcceptStreamFunc(func(stream geminio.Stream) {
		go func() {
			defer stream.Close()
			io.Copy(stream, stream) // until the client closes its direction
		}()
	})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	end, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	stream, err := end.OpenStream()
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	io.WriteString(stream, "echo")
	geminio.CloseWrite(stream)
	answer, err := io.ReadAll(stream)
	fmt.Printf("%s %v\n", answer, err)
	// Output: echo <nil>
}

// With DuplicateRefused the first client keeps its id.
func ExampleEndOptions_SetDuplicateID() {
	opt := server.NewEndOptions()
	opt.SetDuplicateID(server.DuplicateRefused)
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	seven := client.NewEndOptions()
	seven.SetClientID(7)
	end, err := client.NewEnd("tcp", l.Addr().String(), seven)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	_, err = client.NewEnd("tcp", l.Addr().String(), seven)
	fmt.Println(err)
	// Output: the client id is in use by another connection
}

// Shutdown waits for operations in flight, and refuses new ones.
func ExampleListener_shutdown() {
	entered, leave := make(chan struct{}), make(chan struct{})
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{
		Method: "slow",
		RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			close(entered)
			<-leave
			resp.SetData([]byte("done"))
		},
	})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	end, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	call, err := end.CallAsync(context.Background(), "slow", end.NewRequest(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	<-entered

	down := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // after which Shutdown closes the Ends
		defer cancel()
		down <- geminio.Shutdown(ctx, l)
	}()
	close(leave)
	<-call.Done
	fmt.Printf("%s, %v\n", call.Response.Data(), call.Error)
	fmt.Println("shutdown:", <-down)
	_, err = end.Call(context.Background(), "slow", end.NewRequest(nil))
	fmt.Println("afterwards:", err == io.EOF || errors.Is(err, geminio.ErrGoingAway))
	// Output:
	// done, <nil>
	// shutdown: <nil>
	// afterwards: true
}
