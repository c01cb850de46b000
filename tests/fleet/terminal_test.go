package fleet

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// press is a key, for when a text has appeared.
type press struct{ after, key string }

// terminal is somebody before a screen: who reads what a playbook asks, and answers.
type terminal struct {
	mu     sync.Mutex
	screen bytes.Buffer
	keys   []press
	to     io.Writer
}

// settle is how long after its question Ansible throws away what was typed ahead.
const settle = 500 * time.Millisecond

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.Write(p)
	if len(t.keys) > 0 && strings.Contains(t.screen.String(), t.keys[0].after) {
		key := t.keys[0].key
		t.keys = t.keys[1:]
		time.AfterFunc(settle, func() { _, _ = io.WriteString(t.to, key) })
	}
	return len(p), nil
}

// answer runs a playbook at a terminal, and returns what was on the screen, and whether the playbook went well.
func (o *operator) answer(ctx context.Context, keys []press, playbook string, args ...string) (string, bool) {
	o.Helper()
	plain := o.playing(ctx, playbook, args...)
	quoted := make([]string, len(plain.Args))
	for i, a := range plain.Args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	cmd := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", strings.Join(quoted, " "),
		"/dev/null")
	cmd.Dir, cmd.Env = plain.Dir, plain.Env
	in, err := cmd.StdinPipe()
	if err != nil {
		o.Fatal(err)
	}
	t := &terminal{keys: keys, to: in}
	cmd.Stdout, cmd.Stderr = t, t
	began := time.Now()
	err = cmd.Run()
	o.said.Write(t.screen.Bytes())
	o.Logf("%s %s, at a terminal: %.0f s", playbook, strings.Join(args, " "), time.Since(began).Seconds())
	if len(t.keys) > 0 {
		o.Fatalf("%s.yml has not asked %q:\n%s", playbook, t.keys[0].after, t.screen.String())
	}
	return t.screen.String(), err == nil
}
