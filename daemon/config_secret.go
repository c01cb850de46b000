package daemon

import (
	"crypto/tls"
	"fmt"
	"io"
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

// pair reads a certificate with those above it, and its key.
func (s Secret) pair() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(s), []byte(s))
	return &pair, err
}
