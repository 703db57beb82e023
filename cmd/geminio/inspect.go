package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/singchia/geminio/inspect"
)

const (
	// inspectPath is the path of the inspector if the URL has none.
	inspectPath = "/debug/geminio/"
	// maxInspectPage is the most rows of one request.
	maxInspectPage = 500
	// maxInspectAnswer bounds an answer of the inspector, in bytes.
	maxInspectAnswer = 16 << 20
)

// inspectSettings are the flags of the command inspect.
type inspectSettings struct {
	end, filter, only, sort string
	desc, asJSON            bool
	limit                   int
}

// inspectTables are the tables of the inspector, with the columns for --sort.
var inspectTables = map[string][]string{
	"ends": {"client", "name", "meta", "remote", "state", "age", "trip", "streams", "calls", "oldest", "messages",
		"waiting", "resumes", "error", "memory", "sent", "received"},
	"streams": {"client", "name", "stream", "peer", "meta", "opened", "state", "blocked", "age", "calls", "messages",
		"unread", "unreceived", "queued", "credit", "window", "sent", "received"},
	"calls": {"client", "name", "method", "direction", "state", "age", "stream", "number"},
	"nodes": {"name", "state", "addr", "lease", "clients", "waiting", "running", "queue", "remote", "executed", "failed",
		"link", "trip", "sent", "received", "id"},
	"clients": {"client", "node", "state", "age", "generation"},
}

// inspectPages are the pages of the tables whose pages have other names.
var inspectPages = map[string]string{"ends": "", "nodes": "cluster"}

// newInspect returns the command inspect.
func newInspect(s *settings) *cobra.Command {
	i := &inspectSettings{}
	cmd := &cobra.Command{
		Use:   "inspect URL [ends|streams|calls|nodes|clients]",
		Short: "print the Ends, streams or calls in flight of a process, or its cluster",
		Long: `inspect prints a table of a process that serves package inspect over HTTP: its Ends, its
streams, or its calls in flight, the oldest first. Of a node of a cluster it also prints the
nodes, and all clients with their nodes.

The URL is that of the inspector, such as http://localhost:6060/debug/geminio/. The scheme
http and that path may be left out.`,
		Args: args(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"ends\tthe connections", "streams\ttheir streams", "calls\tcalls in flight",
					"nodes\tthe nodes of its cluster", "clients\tthe clients of its cluster"}, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			table := "ends"
			if len(args) == 2 {
				table = args[1]
			}
			if inspectTables[table] == nil {
				return usageError{fmt.Errorf("the table is ends, streams, calls, nodes or clients, not %q", table)}
			}
			if i.limit < 0 {
				return usageError{errors.New("--limit must not be negative")}
			}
			return s.inspect(cmd, i, args[0], table)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&i.filter, "filter", "f", "", "print only rows that contain this text")
	flags.StringVar(&i.only, "only", "", "print only some rows: a state of Ends or clients such as interrupted; stuck streams; calls of at least 1s, 10s, 1m or 10m")
	flags.StringVar(&i.end, "end", "", "with streams and calls: the ID of the only End (see ends --json)")
	flags.StringVar(&i.sort, "sort", "", "sort by this column, such as age; the page of the process has all columns")
	flags.BoolVar(&i.desc, "desc", false, "with --sort: the largest first")
	flags.IntVarP(&i.limit, "limit", "n", 50, "number of rows; 0: all")
	flags.BoolVar(&i.asJSON, "json", false, "print a JSON object for each row")
	err := cmd.RegisterFlagCompletionFunc("sort", func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		table := "ends"
		if len(args) == 2 {
			table = args[1]
		}
		return inspectTables[table], cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return cmd
}

// inspectURL returns the URL of a table.
func inspectURL(raw, table string) (*url.URL, error) {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s: want http://host:port%s", raw, inspectPath)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = inspectPath
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	if page, ok := inspectPages[table]; ok {
		table = page
	}
	u.Path += table
	return u, nil
}

// inspect prints a table.
func (s *settings) inspect(cmd *cobra.Command, i *inspectSettings, raw, table string) error {
	u, err := inspectURL(raw, table)
	if err != nil {
		return usageError{err}
	}
	query := url.Values{"format": {"json"}}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("end", i.end)
	set(table+".q", i.filter)
	set(table+".only", i.only)
	set(table+".sort", i.sort)
	if i.desc {
		set(table+".desc", "1")
	}
	rows := i.limit
	if rows == 0 || rows > maxInspectPage {
		rows = maxInspectPage
	}
	set(table+".limit", strconv.Itoa(rows))
	u.RawQuery = query.Encode()
	switch out := cmd.OutOrStdout(); table {
	case "streams":
		return printPages(cmd.Context(), s, u, i, out, streamColumns)
	case "calls":
		return printPages(cmd.Context(), s, u, i, out, callColumns)
	case "nodes":
		return printPages(cmd.Context(), s, u, i, out, nodeColumns)
	case "clients":
		return printPages(cmd.Context(), s, u, i, out, clientColumns)
	default:
		return printPages(cmd.Context(), s, u, i, out, endColumns)
	}
}

// printPages gets one page after the other, until there are as many rows as asked for, and prints
// them.
func printPages[Row any](ctx context.Context, s *settings, u *url.URL, i *inspectSettings, out io.Writer, columns []tableColumn[Row]) error {
	client, err := s.httpClient(u)
	if err != nil {
		return usageError{err}
	}
	defer client.CloseIdleConnections()
	var rows []Row
	matching := 0
	for {
		var answer struct {
			inspect.Page[Row]
			Nodes *inspect.Page[Row] `json:"nodes"` // of the page of a cluster
		}
		if err := s.getPage(ctx, client, u, &answer); err != nil {
			return err
		}
		page := answer.Page
		if answer.Nodes != nil {
			page = *answer.Nodes
		}
		rows, matching = append(rows, page.Rows...), page.Matching
		if i.limit > 0 && len(rows) >= i.limit {
			rows = rows[:i.limit]
			break
		}
		if page.Next == "" {
			break
		}
		u.RawQuery = strings.TrimPrefix(page.Next, "?")
	}
	if i.asJSON {
		e := json.NewEncoder(out)
		for _, row := range rows {
			if err := e.Encode(row); err != nil {
				return err
			}
		}
		return nil
	}
	return printTable(out, columns, rows, matching)
}

// httpClient returns a client with the settings of the flags for TLS.
func (s *settings) httpClient(u *url.URL) (*http.Client, error) {
	config, err := s.tls.config(u.Hostname())
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &http.Client{Transport: transport}, nil
}

// getPage gets the JSON of a page.
func (s *settings) getPage(ctx context.Context, client *http.Client, u *url.URL, page any) error {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return usageError{err}
	}
	if req.Header, err = s.header(); err != nil {
		return usageError{err}
	}
	resp, err := client.Do(req)
	if err != nil {
		return connectError{err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxInspectAnswer))
	if err != nil {
		return connectError{err}
	}
	if resp.StatusCode != http.StatusOK {
		var failed inspect.Error
		if json.Unmarshal(body, &failed) != nil || failed.Error == "" {
			return fmt.Errorf("%s: %s", u.Redacted(), resp.Status)
		}
		failure := errors.New(plain(failed.Error))
		if resp.StatusCode == http.StatusBadRequest {
			return usageError{failure}
		}
		return failure
	}
	if err := json.Unmarshal(body, page); err != nil {
		return fmt.Errorf("%s is not an inspector: %w", u.Redacted(), err)
	}
	return nil
}

// seconds formats a time in seconds, with three digits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d <= 0:
		return "-"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// bytesOf formats a number of bytes.
func bytesOf[N uint64 | uint32 | int](n N) string {
	f, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, next
	}
	if unit == "B" {
		return strconv.FormatUint(uint64(n), 10) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
}
