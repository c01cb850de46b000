package config

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Secret is a password or a token. However it is printed, logged or encoded, it shows as "***"; only a conversion to string
// shows it, and that is easy to look for.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format covers the verbs that don't ask String, such as %#v and %d.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText covers JSON, TOML and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// WebAddress is a URL of which the host alone is nobody's secret: whoever knows the rest of one that leads to a chat can write there. However it is
// printed, logged or encoded, "***" stands for what follows the host.
type WebAddress string

func (a WebAddress) String() string {
	if a == "" {
		return ""
	}
	u, err := url.Parse(string(a))
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "***"
	}
	bare := u.Scheme + "://" + u.Host
	if string(a) == bare || string(a) == bare+"/" {
		return string(a)
	}
	return bare + "/***"
}

// Format covers the verbs that don't ask String.
func (a WebAddress) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// MarshalText covers JSON, TOML and slog.
func (a WebAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// KeyPair reads a certificate with those above it, and its key. Either file may hold other things of both, as a combined one does.
func (h HTTPConfig) KeyPair() (*tls.Certificate, error) {
	for file, text := range map[string]Secret{h.TLSCert: h.Certificate, h.TLSKey: h.Key} {
		if !whole(string(text)) {
			return nil, fmt.Errorf("%s breaks off in the middle of a PEM block: it may be being written", file)
		}
	}
	pair, err := tls.X509KeyPair([]byte(h.Certificate), []byte(h.Key))
	return &pair, err
}

// whole says that every block that a PEM text begins has its end: decoders pass over one that has not, and a chain would lose its authorities in silence.
func whole(text string) bool {
	const begin = "-----BEGIN "
	begun := strings.Count(text, begin)
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		begun--
	}
	last := text[strings.LastIndexByte(text, '\n')+1:]
	return begun == 0 && (last == "" || !strings.HasPrefix(begin, last))
}
