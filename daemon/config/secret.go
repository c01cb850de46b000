package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
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

// secret reads a file with a secret, and refuses one that others can read or write.
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
	if info, err := os.Stat(file); err == nil {
		r.private(key, file, info)
	}
	if r.bad[key] {
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

// private refuses a file that others can read or write.
func (r *reader) private(key, file string, info os.FileInfo) {
	r.foreign(key, file, info)
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		r.add(key, "%s can be written by every account (mode %04o): chmod o= %s, and change the secret", file, mode,
			file)
	case mode&0o007 != 0:
		r.add(key, "%s can be read by every account (mode %04o): chmod o= %s", file, mode, file)
	case mode&0o020 != 0:
		r.add(key, "%s can be written by its group (mode %04o): chmod g-w %s", file, mode, file)
	}
}

// serviceAccount is the one that the package makes for the service. Root checks the files of that service.
const serviceAccount = "orchestrator"

// foreign refuses a file of another account, which could change it at any time.
func (r *reader) foreign(key, file string, info os.FileInfo) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 || int(stat.Uid) == os.Geteuid() {
		return
	}
	owner, name := strconv.Itoa(int(stat.Uid)), ""
	if u, err := user.LookupId(owner); err == nil {
		name = u.Username
	}
	if os.Geteuid() == 0 && name == serviceAccount {
		return
	}
	r.add(key, "%s belongs to another account (%s), which can change it: chown root %s", file,
		cmp.Or(name, owner), file)
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
