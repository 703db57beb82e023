// Package inspect shows the Ends of a running program in a browser: an http.Handler like those of
// net/http/pprof. It lists Ends, streams, and calls in flight by their age, in tables that can be
// sorted and filtered, on pages that refresh themselves, and as JSON.
//
//	srv := server.New()
//	http.Handle("/debug/geminio/", &inspect.Handler{Sources: []inspect.Source{srv}})
//	go http.ListenAndServe("127.0.0.1:6060", nil)
//
// The pages are at http://127.0.0.1:6060/debug/geminio/. A Server is a [Source] by its method Ends, and
// [Of] makes one of single Ends, such as those of a client. The command "geminio inspect" prints the
// same tables on a terminal.
//
// # Clusters
//
// With a node of module cluster in the field Cluster of the Handler, there are two more pages: "cluster" has the
// numbers of the node of this process and a table of all nodes, and "clients" has all clients of the
// cluster, with their nodes. They show what this node knows, and ask no other one: the numbers of another node
// are those of its last renewal of its lease.
//
// # Access
//
// Serve the handler only where operators reach it, such as on the loopback interface, or behind
// authentication. Never expose it publicly: it shows the addresses and ids of clients, the names of
// methods, and how busy the program is. It shows no payloads: no data of calls and messages, no raw bytes
// and no metadata. Metas may be secrets, since a client can send a token in its meta, so they are
// shown only with ShowMeta.
//
// The handler changes nothing, and answers GET and HEAD only. Texts of peers, such as methods, metas and
// errors, are shown as texts: controls and bidirectional characters are escaped, and the pages have a
// content security policy that allows no script and no style but their own. On the loopback interface, requests
// by a host name other than "localhost" are refused: they may come from a page of another site, whose name leads
// to this process (DNS rebinding). Handler.Hosts allows names, such as that of a reverse proxy with
// authentication.
//
// # Cost
//
// A page costs a snapshot of each End, or of each stream and call of each End: for 10,000 Ends some tens of
// milliseconds of one processor. It keeps its own rows alone, whatever the number of Ends; about 1 KiB
// for each further End is garbage at once, and about 100 bytes for each client of a cluster. A page is complete before its first byte is written, so a slow
// reader of a page holds no lock and delays nothing. At most four pages are made at a time; further
// requests are answered with the status 503.
//
// # JSON
//
// With the parameter format=json the pages are JSON: a [Page] of [End], [Stream] or [Call]. The
// parameters of the pages apply, each with the name of its table:
//
//	/debug/geminio/?format=json&ends.sort=calls&ends.desc=1&ends.limit=10
//	/debug/geminio/streams?format=json&end=ID
//	/debug/geminio/calls?format=json&calls.q=reboot&calls.only=10s
//
// sort names a column, as in the links of the page, desc=1 reverses the order, q is a text that a row must
// contain, and limit is the number of rows, by default 50, at most 500. only chooses rows: of the Ends and
// clients those in a state, such as interrupted; of the streams "stuck", "own" or "peer"; of the calls those
// with an age of at least "1s", "10s", "1m" or "10m". The fields previous and next of a Page are the queries of
// the pages beside it. end restricts streams and calls to an End, and the page "end" has all about one End,
// an [EndPage]. The page "cluster" is a [ClusterPage], with the table "nodes", and the page "clients" a Page of
// [Client], which node restricts to the node with that id. A request that fails has an [Error]. Later versions
// may add columns and fields.
package inspect
