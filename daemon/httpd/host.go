package httpd

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosted says whether a request was sent to one of our names. A page of another site can have its own name lead to our
// address; then it would be of the same origin as what it reads here. It can't send our name, nor an address.
func (o Options) hosted(r *http.Request) bool {
	if len(o.Hosts) == 0 {
		return true
	}
	host := strings.ToLower(strings.TrimSuffix(bare(r.Host), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	return slices.ContainsFunc(o.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// bare is a host without its port and brackets.
func bare(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
