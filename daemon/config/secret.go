package config

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/secret"
)

// Secret is a password or a token. However it is printed, logged or encoded, it shows as "***". Only a conversion to
// string shows it, and that is easy to find.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// Format covers the verbs that do not use String, such as %#v and %d.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText covers JSON, TOML and slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// WebAddress is a URL whose host alone is not secret: anyone who knows the whole URL of a chat can post there. However
// it is printed, logged or encoded, it shows "***" in place of what follows the host.
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

// Format covers the verbs that do not use String.
func (a WebAddress) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// MarshalText covers JSON, TOML and slog.
func (a WebAddress) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// secret reads a file with a secret, and refuses one that every account can read.
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
		r.add(key, "%s can be read by every account (mode %04o): chmod o= %s", file, info.Mode().Perm(), file)
		return ""
	}
	s := strings.TrimRight(string(data), "\r\n")
	if len(data) == 0 {
		r.add(key, "%s is empty", file)
	} else if strings.TrimSpace(s) == "" { // read line by line, nothing would be left
		r.add(key, "%s contains only white space", file)
	}
	return Secret(s)
}

// shortest is how many characters a token that people choose must have.
const shortest = 16

// length reports tokens that can be guessed.
func (r *reader) length(key, file string, s Secret) {
	for i, line := range secret.Lines(string(s)) {
		if n := utf8.RuneCountInString(line); n < shortest {
			r.add(key, "%s has a token of %s (number %d); it must have at least %d: openssl rand -hex 32 makes one",
				file, plural.Count(n, "character"), i+1, shortest)
		}
	}
}

// content is a file with a secret, line by line, without what editors leave there: white space, empty lines, a byte
// order mark.
func (r *reader) content(key, file string) []string {
	lines := secret.Lines(strings.TrimPrefix(string(r.secret(key, file)), "\ufeff"))
	if len(lines) == 0 && !r.bad[key] {
		r.add(key, "%s contains only white space", file)
	}
	return lines
}
