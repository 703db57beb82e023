// Package tools is empty: its module pins the development tools, away from the
// go.mod that users of the library get. Run one from the repository's root with
//
//	go tool -modfile=tools/go.mod staticcheck ./...
//
// They are staticcheck and govulncheck, for "make static" and "make vuln".
package tools
