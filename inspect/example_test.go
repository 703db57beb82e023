package inspect_test

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
)

// A program serves the pages where only operators reach them, and reads them as JSON.
func ExampleHandler() {
	srv, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	opt := client.NewEndOptions()
	opt.SetClientID(7)
	end, err := client.NewEnd("tcp", srv.Addr().String(), opt)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	if _, err := srv.AcceptEnd(); err != nil { // from then on the server has the End
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle("/debug/geminio/", &inspect.Handler{
		Sources: []inspect.Source{srv.(*server.Server)},
		Name:    func(e geminio.End) string { return fmt.Sprintf("device %d", e.ClientID()) },
	})
	site := httptest.NewServer(mux) // or go http.ListenAndServe("127.0.0.1:6060", mux)
	defer site.Close()

	resp, err := site.Client().Get(site.URL + "/debug/geminio/?format=json")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var page inspect.Page[inspect.End]
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		log.Fatal(err)
	}
	for _, end := range page.Rows {
		fmt.Println(end.Name, "of", page.All)
	}
	// Output: device 7 of 1
}

// The Ends of a client, such as a *client.RetryEnd, are a Source too.
func ExampleOf() {
	srv, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	upstream, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", srv.Addr().String()) })
	if err != nil {
		log.Fatal(err)
	}
	source := inspect.Of(upstream)
	for end := range source.Ends() {
		fmt.Println(end.Side())
	}
	upstream.Close()
	for range source.Ends() {
		fmt.Println("an End that has ended is skipped")
	}
	// Output: initiator
}
