package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartDaemons starts n daemons that share a backend pair, each behind an HAProxy of its own, and know each other. The
// configuration of the proxies is what the program renders. It returns when all are ready.
func (l *Lab) StartDaemons(ctx context.Context, n int, spec DaemonSpec, members ...*Server) (daemons []*Daemon,
	proxies []*HAProxy, err error) {
	for range n {
		h, err := l.NewHAProxy("")
		if err != nil {
			return nil, nil, err
		}
		d, err := l.newDaemon(spec)
		if err != nil {
			return nil, nil, err
		}
		daemons, proxies = append(daemons, d), append(proxies, h)
	}
	var keys []string
	for _, m := range members {
		keys = append(keys, fmt.Sprintf("%q", m.Key))
	}
	for file, secret := range map[string]string{"backend": BackendPassword,
		"peers": "the-lab-has-a-secret-of-its-own"} {
		if err := os.WriteFile(filepath.Join(l.dir, file), []byte(secret), 0o600); err != nil {
			return nil, nil, err
		}
	}
	admin := ""
	if spec.Admin != "" {
		admin = fmt.Sprintf("admin_user = %q\nadmin_password_file = %q\n", spec.Admin,
			filepath.Join(l.dir, spec.Admin))
	}
	timeout, lease := "", ""
	if spec.TTL > 0 {
		timeout, lease = fmt.Sprintf("timeout = %q\n", spec.TTL/4), fmt.Sprintf("[lease]\nttl = %q\ntick = %q\n",
			spec.TTL, spec.TTL/5)
	}
	for i, d := range daemons {
		var others []string
		for j, o := range daemons {
			if i != j {
				others = append(others, fmt.Sprintf("%q", o.URL))
			}
		}
		spec.Backend = fmt.Sprintf(`[backend]
kind = "mysql"
path = "journal.db"
address = %q
members = [%s]
user = %q
password_file = %q
public_key_file = %q
%s%s%s[peers]
daemons = [%s]
secret_file = %q
[haproxy]
agent = "%s:3001"
socket = %q
database = %q
http = %q`, proxies[i].Database, strings.Join(keys, ", "), BackendUser, filepath.Join(l.dir, "backend"),
			PublicKey(), timeout, admin, lease, strings.Join(others, ", "), filepath.Join(l.dir, "peers"),
			d.host, proxies[i].Socket, proxies[i].Database, proxies[i].HTTP)
		if err := d.configure(spec); err != nil {
			return nil, nil, err
		}
		rendered, err := exec.CommandContext(ctx, d.binary, "haproxy", "config", "--config", d.ConfigFile, "--version",
			"2.6").Output()
		if err != nil {
			return nil, nil, fmt.Errorf("render the configuration of %s: %w: %s", proxies[i].what, err, stderr(err))
		}
		if err := errors.Join(proxies[i].Write(string(rendered)), proxies[i].Start(ctx)); err != nil {
			return nil, nil, err
		}
	}
	failed := make(chan error, n)
	for _, d := range daemons {
		go func() { failed <- d.Restart(ctx) }()
	}
	for range daemons {
		err = errors.Join(err, <-failed)
	}
	return daemons, proxies, err
}

func stderr(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}
