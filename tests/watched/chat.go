package watched

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"orchestrator/daemon/hook"
)

// Chat is a URL that remembers what hooks notify it of.
type Chat struct {
	*httptest.Server
	mu   sync.Mutex
	said []hook.Message
}

// token is what a hook must show.
const token = "t0ken"

// NewChat serves one until the test ends.
func NewChat(t *testing.T) *Chat {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.34.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Chat{}
	c.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(c.hear)}}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *Chat) hear(w http.ResponseWriter, r *http.Request) {
	var m hook.Message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "no", http.StatusForbidden)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, m)
}

// Config is a hook that notifies it of all moments.
func (c *Chat) Config(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config := "\n[[hook]]\nname = \"chat\"\non = [\"" + strings.Join(moments(), "\", \"") + "\"]\n"
	for file, text := range map[string]string{"url": c.URL + "/s3cret", "token": token} {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		config += file + "_file = \"" + path + "\"\n"
	}
	return config
}

func moments() (out []string) {
	for _, m := range hook.Moments() {
		out = append(out, string(m))
	}
	return out
}

// Heard are the moments that it was notified of, in order.
func (c *Chat) Heard() (out []string) {
	for _, m := range c.Messages() {
		out = append(out, string(m.Moment))
	}
	return out
}

// Messages are all that it was sent, in order.
func (c *Chat) Messages() []hook.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]hook.Message(nil), c.said...)
}
