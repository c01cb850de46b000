package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is the port of a key that names none.
const DefaultPort = 3306

// Key is the address of a server. Making one does no I/O: the prober resolves names.
type Key struct {
	Host string
	Port int
}

// ParseKey reads "host", "host:port", "[v6]:port" or a bare IPv6 address.
func ParseKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	host, port := text, DefaultPort
	if _, err := netip.ParseAddr(text); err != nil || !strings.Contains(text, ":") {
		if i := strings.LastIndexByte(text, ':'); i >= 0 {
			n, err := strconv.Atoi(text[i+1:])
			if err != nil || n < 1 || n > 65535 {
				return Key{}, fmt.Errorf("address %q: port must be a number from 1 to 65535", text)
			}
			host, port = text[:i], n
		}
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
		if _, err := netip.ParseAddr(host); err != nil {
			return Key{}, fmt.Errorf("address %q: %q is no IPv6 address", text, host)
		}
	} else if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return Key{}, fmt.Errorf("address %q: write an IPv6 address with its port as [address]:port", text)
		}
	}
	k, err := MakeKey(host, port)
	if err != nil {
		return Key{}, fmt.Errorf("address %q: want host or host:port", text)
	}
	return k, nil
}

// MakeKey makes a key of a host and a port, as servers tell them apart. Upper case, and a dot at the end of a name, are
// spellings of the same name.
func MakeKey(host string, port int) (Key, error) {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	// A name with an empty label would read as another one when its dots are cut again.
	if name == "" || len(name) > 255 || strings.ContainsFunc(name, badInHost) || strings.Contains("."+name+".", "..") {
		return Key{}, fmt.Errorf("%q is no host", host)
	}
	if strings.Contains(name, ":") {
		if _, err := netip.ParseAddr(name); err != nil {
			return Key{}, fmt.Errorf("%q is no host, and no IPv6 address", host)
		}
	}
	if port < 1 || port > 65535 {
		return Key{}, fmt.Errorf("%d is no port", port)
	}
	return Key{name, port}, nil
}

func badInHost(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' ||
		r == ':' || r == '%')
}

// String is the form that ParseKey reads back; the port is always there. Of the zero key it says that it is unknown.
func (k Key) String() string {
	if k.IsZero() {
		return "unknown"
	}
	if k.Detached() {
		return detachedMark + k.Attached().String()
	}
	if strings.Contains(k.Host, ":") {
		return fmt.Sprintf("[%s]:%d", k.Host, k.Port)
	}
	return k.Host + ":" + strconv.Itoa(k.Port)
}

// IsAddress says that the host is an IP address, not a name.
func (k Key) IsAddress() bool {
	_, err := netip.ParseAddr(k.Host)
	return err == nil
}

// IsZero reports whether the key names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// Compare orders keys by host, then port.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Host, o.Host), cmp.Compare(k.Port, o.Port))
}

// MarshalText makes keys readable in JSON, and usable as keys of JSON objects.
func (k Key) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText is ParseKey; the empty text is the zero key, and a detached source is allowed.
func (k *Key) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = Key{}
		return nil
	}
	rest, detached := strings.CutPrefix(string(text), detachedMark)
	parsed, err := ParseKey(rest)
	if err != nil {
		return err
	}
	if detached {
		parsed = parsed.Detach()
	}
	*k = parsed
	return nil
}

// detachedMark in front of a host name makes it one that no resolver finds: so a replica is detached and its source not
// forgotten.
const detachedMark = "//"

// Detached says that the key is a source spoilt on purpose.
func (k Key) Detached() bool { return strings.HasPrefix(k.Host, detachedMark) }

// Detach returns the spoilt key, Attached the good one.
func (k Key) Detach() Key { return Key{detachedMark + k.Attached().Host, k.Port} }

// Attached returns the key without the mark.
func (k Key) Attached() Key { return Key{strings.TrimPrefix(k.Host, detachedMark), k.Port} }
