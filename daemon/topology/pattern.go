package topology

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// Pattern admits servers: by the name that they are known by, or by the address that a connection goes to.
type Pattern struct {
	text    string
	network netip.Prefix // of addresses; else it is a pattern of names
	host    string       // with * and ?
	port    int          // 0: any
}

// ParsePattern reads a network ("10.0.0.0/8"), an address, or a host with * and ?, with or without a port.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	if network, err := netip.ParsePrefix(text); err == nil {
		p.network = network.Masked()
		return p, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		p.network = netip.PrefixFrom(a, a.BitLen())
		return p, nil
	}
	host, port, has := strings.Cut(text, ":")
	if has {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return Pattern{}, fmt.Errorf("%q: want a network (10.0.0.0/8), an address, or a host with * and ?, "+
				"with or without a port", text)
		}
		p.port = n
	}
	p.host = strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.ContainsFunc(p.host, func(r rune) bool { return badInHost(r) && r != '*' && r != '?' }) || p.host == "" {
		return Pattern{}, fmt.Errorf("%q: want a network (10.0.0.0/8), an address, or a host with * and ?", text)
	}
	return p, nil
}

// Named says that the pattern admits a key by its name, whatever address that has. An address as a name counts as one
// of the network.
func (p Pattern) Named(k Key) bool {
	if p.IsNetwork() {
		a, err := netip.ParseAddr(k.Host)
		return err == nil && p.Holds(a)
	}
	matches, _ := path.Match(p.host, k.Host) // a pattern of host characters has no bad syntax
	return matches && (p.port == 0 || p.port == k.Port)
}

// IsNetwork says that the pattern is one of addresses.
func (p Pattern) IsNetwork() bool { return p.network.IsValid() }

// Holds says that an address belongs to the network.
func (p Pattern) Holds(a netip.Addr) bool { return p.IsNetwork() && p.network.Contains(plain(a)) }

// String is what ParsePattern has read.
func (p Pattern) String() string { return p.text }

// MarshalText and UnmarshalText are for configurations.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText is ParsePattern.
func (p *Pattern) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePattern(string(text))
	return err
}

// plain is an address without a zone, and one of IPv4 in its own form.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// metadata are where clouds answer their machines.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("100.100.100.200"): true, netip.MustParseAddr("168.63.129.16"): true,
	netip.MustParseAddr("192.0.0.192"): true, netip.MustParseAddr("fd00:ec2::254"): true,
	netip.MustParseAddr("fd20:ce::254"): true,
}

// Special says what kind of address it is, where no managed server is expected; "" where one may be. Loopback is told
// by the address itself.
func Special(a netip.Addr) string {
	switch a = plain(a); {
	case a.IsUnspecified():
		return "an unspecified address"
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "a multicast address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case metadata[a]:
		return "an address at which a cloud answers its machines"
	}
	return ""
}

// Loopback says that an address is one of this machine.
func Loopback(a netip.Addr) bool { return plain(a).IsLoopback() }
