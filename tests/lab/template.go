package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// templateDir is where the prepared data directory is. Its name tells what it was made with, so that a new version of a
// server or of this file makes its own.
func templateDir(f topology.Flavor) (string, error) {
	root := rootOf(f)
	binary := filepath.Join(root, mariadbd)
	if f == MySQL {
		binary = filepath.Join(root, mysqld)
	}
	made, err := os.Stat(binary)
	if err != nil {
		return "", fmt.Errorf("find %s: %w; run make install-deps", f, err)
	}
	h := fnv.New64a()
	fmt.Fprint(h, made.Size(), made.ModTime().UnixNano(), options(f, false), accounts(f))
	parent := filepath.Join(cacheDir(), "template")
	if f == MySQL {
		parent = filepath.Join(root, "var", "tmp", "lab-template")
	}
	return filepath.Join(parent, fmt.Sprintf("%s-%016x", strings.ToLower(string(f)), h.Sum64())), nil
}

// template returns a prepared data directory, made by the first who needs it and kept for all later labs.
func (l *Lab) template(ctx context.Context, f topology.Flavor) (string, error) {
	dir, err := templateDir(f)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(dir), 0o755)
	}
	if err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	draft := dir + ".draft"
	if err := os.RemoveAll(draft); err != nil {
		return "", err
	}
	defer os.RemoveAll(draft + ".tmp")
	if err := l.prepare(ctx, f, draft); err != nil {
		return "", fmt.Errorf("prepare a data directory of %s: %w", f, err)
	}
	return dir, os.Rename(draft, dir)
}

// PublicKey is the file with the public key of the MySQL servers, which all copies of the prepared directory share. It
// is "" where there is none: no MySQL server was ever started.
func PublicKey() string {
	dir, err := templateDir(MySQL)
	if err != nil {
		return ""
	}
	file := filepath.Join(dir, "public_key.pem")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// Security is how a client without TLS gets into the servers of both flavours.
func Security() (s server.Security) {
	if text, err := os.ReadFile(PublicKey()); err == nil {
		s.Keys, _ = server.ParseKeys(text) // without keys, MySQL refuses
	}
	return s
}

// prepare makes a data directory with the accounts and the table of the writer.
func (l *Lab) prepare(ctx context.Context, f topology.Flavor, dir string) error {
	root := l.Root(f)
	inside := strings.TrimPrefix(dir, root)
	tmp, err := tmpDir(root, dir)
	if err != nil {
		return err
	}
	var install *exec.Cmd
	if f == MariaDB {
		install = exec.CommandContext(ctx, installDB, "--no-defaults", "--user=root", "--datadir="+dir,
			"--skip-test-db", "--tmpdir="+tmp,
			"--auth-root-authentication-method=normal", "--innodb-log-file-size=16M")
	} else {
		install = exec.CommandContext(ctx, mysqld, "--no-defaults", "--initialize-insecure", "--user=root",
			"--datadir="+inside, "--tmpdir="+tmp,
			"--innodb-redo-log-capacity=16M", "--innodb-use-native-aio=0")
		install.Dir = "/"
		install.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", install.Path, err, tail(string(out)))
	}
	// Without binary log: the copies must begin with no transactions, or each would look errant to the others.
	s := &Server{Flavor: f, Name: "template", process: process{lab: l, what: string(f)}, dir: dir,
		args: append(options(f, false), "--skip-log-bin", "--skip-networking", "--read-only=0")}
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, statement := range accounts(f) {
		if _, err := s.DB().ExecContext(ctx, statement); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", statement, err), s.Close())
		}
	}
	if err := s.Terminate(); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	// Identity and logs are each copy's own.
	for _, name := range []string{"auto.cnf", "error.log", "s.sock", "s.sock.lock", "ib_buffer_pool", "ibtmp1"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lockFile waits for a lock on a file; the caller must call what it returns.
func lockFile(ctx context.Context, path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			file.Close()
			return nil, fmt.Errorf("wait for %s: %w", path, err)
		}
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// tail is the end of a long text, for errors.
func tail(text string) string {
	const most = 6000
	if text = strings.TrimSpace(text); len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}
