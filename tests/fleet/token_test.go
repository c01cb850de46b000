package fleet

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/secret"
)

// users send changes to each daemon all the time, by the token on its host: the one in use, and the one that was in use
// at first, as long as that is there.
type users struct {
	first                  string
	taken, refused, failed atomic.Int64
	stop                   func()
}

func (o *operator) sendChanges(ctx context.Context) *users {
	o.Helper()
	u := &users{first: o.tokens("daemon1")[0]}
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, name := range names[2:5] {
		web, err := o.client()
		if err != nil {
			o.Fatal(err)
		}
		all.Go(func() {
			for ctx.Err() == nil {
				for i, token := range o.tokens(name) {
					if i == 0 || token == u.first {
						u.count(o.change(ctx, web, name, token))
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	u.stop = func() { stop(); all.Wait() }
	o.Cleanup(u.stop)
	return u
}

func (u *users) count(status int) {
	switch {
	case status == http.StatusUnauthorized:
		u.refused.Add(1)
	case status/100 == 2:
		u.taken.Add(1)
	default: // the daemon restarts, or waits for the backend
		u.failed.Add(1)
	}
}

// tokens are those on the host of a daemon; none where the file can't be read.
func (o *operator) tokens(name string) []string {
	text, err := o.hosts[name].Read("/etc/orchestrator/token")
	if err != nil {
		o.Errorf("%s: %v", name, err)
	}
	return secret.Lines(text)
}

// change declares what is declared already, and returns the status; 0: there was no answer.
func (o *operator) change(ctx context.Context, web *http.Client, name, token string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+o.hosts[name].Address+
		":3000/api/v1/instances/10.79.0.17:3306/tags/dc", strings.NewReader(`{"value":"west"}`))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := web.Do(r)
	if err != nil {
		return 0
	}
	defer a.Body.Close()
	return a.StatusCode
}

// changed wants nobody to have been refused while the token was changed, and only the new one to be valid now.
func (u *users) changed(ctx context.Context, t *testing.T, o *operator) {
	t.Helper()
	u.stop()
	o.note("meanwhile %d changes were accepted, %d refused as with a wrong token, %d not answered because a daemon "+
		"restarted",
		u.taken.Load(), u.refused.Load(), u.failed.Load())
	if u.refused.Load() > 0 || u.taken.Load() < 100 {
		t.Error("that is a gap")
	}
	kept, err := os.ReadFile(filepath.Join(o.dir, "inventory", ".secrets", "token"))
	if err != nil {
		t.Fatal(err)
	}
	web, err := o.client()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[2:5] {
		tokens := o.tokens(name)
		if len(tokens) != 1 || tokens[0] == u.first || tokens[0] != strings.TrimSpace(string(kept)) {
			t.Errorf("%s has %d tokens, or not the one that is kept", name, len(tokens))
		}
		if code := o.change(ctx, web, name, u.first); code != http.StatusUnauthorized {
			t.Errorf("%s answers the old token with status %d", name, code)
		}
		if code := o.change(ctx, web, name, tokens[0]); code/100 != 2 {
			t.Errorf("%s answers the new token with status %d", name, code)
		}
	}
}
