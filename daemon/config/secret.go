package config

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"orchestrator/daemon/secret"
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

// secret reads a file that holds one, and insists that not everybody can.
func (r *reader) secret(key, file string) Secret {
	data, err := readRegular(file, 64<<10)
	if errors.Is(err, os.ErrPermission) {
		r.add(key, "%v; let the group of the daemon read it: chgrp orchestrator %s && chmod 640 %s", err, file, file)
		return ""
	}
	if err != nil {
		r.add(key, "%v", err)
		return ""
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
		r.add(key, "%s is open to everybody (mode %04o): chmod o= %s", file, info.Mode().Perm(), file)
		return ""
	}
	s := strings.TrimRight(string(data), "\r\n")
	if len(data) == 0 {
		r.add(key, "%s is empty", file)
	} else if strings.TrimSpace(s) == "" { // of those that may have several lines, none would be left
		r.add(key, "%s has nothing but blanks in it", file)
	}
	return Secret(s)
}

// content is what a file with a secret says, line by line, without what editors leave in one: blanks, empty lines, a mark of the byte order.
func (r *reader) content(key, file string) []string {
	lines := secret.Lines(strings.TrimPrefix(string(r.secret(key, file)), "\ufeff"))
	if len(lines) == 0 && !r.bad[key] {
		r.add(key, "%s has nothing but blanks in it", file)
	}
	return lines
}
