package inspect

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// admits reports whether the pages may be read by the host name of a request. A page of another site can have
// the browser of an operator ask here: its name leads to the address of this process at the second
// look-up (DNS rebinding), and for the browser both are the same site then. Such a request has the name of the
// other site.
func (h *Handler) admits(r *http.Request) bool {
	name := r.Host
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	if h.Hosts != nil {
		return slices.ContainsFunc(h.Hosts, func(allowed string) bool { return strings.EqualFold(allowed, name) })
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return !ok || !local.IP.IsLoopback()
}
