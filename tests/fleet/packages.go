package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/tests/hosts"
)

// packages is the proxy through which hosts reach Debian's archive: they have no other way out. What never changes, the
// packages themselves, is kept.
type packages struct {
	dir    string
	server *http.Server

	served, fetched atomic.Int64 // bytes

	mu      sync.Mutex
	under   int // answers under way
	since   time.Time
	waiting time.Duration // that at least one was under way
}

const packagesPort = "3142"

func servePackages(n *hosts.Network, dir string) (*packages, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := n.Listen(hosts.Gateway + ":" + packagesPort)
	if err != nil {
		return nil, fmt.Errorf("serve packages to the hosts: %w", err)
	}
	p := &packages{dir: dir}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(l) }()
	return p, nil
}

func (p *packages) close() error { return p.server.Close() }

func (p *packages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.count(1)
	defer p.count(-1)
	if r.Method != http.MethodGet || r.URL.Host == "" {
		http.Error(w, "a proxy for packages, and for nothing else", http.StatusBadRequest)
		return
	}
	body, err := p.open(r.Context(), r.URL)
	if err != nil {
		code := http.StatusBadGateway
		if errors.Is(err, errAbsent) {
			code = http.StatusNotFound
		}
		http.Error(w, err.Error(), code)
		return
	}
	defer body.Close()
	n, _ := io.Copy(w, body)
	p.served.Add(n)
}

func (p *packages) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under == 0 {
		p.since = time.Now()
	}
	if p.under += n; p.under == 0 {
		p.waiting += time.Since(p.since)
	}
}

// waited is for how long at least one host was waiting for an answer.
func (p *packages) waited() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

var errAbsent = errors.New("not there")

func (p *packages) open(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	file := filepath.Join(p.dir, filepath.Base(u.Path))
	keep := strings.HasSuffix(u.Path, ".deb")
	if keep {
		if f, err := os.Open(file); err == nil {
			return f, nil
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		a.Body.Close()
		return nil, fmt.Errorf("%w: %s", errAbsent, a.Status)
	}
	if !keep {
		return count{a.Body, &p.fetched}, nil
	}
	defer a.Body.Close()
	draft, err := os.CreateTemp(p.dir, "draft")
	if err != nil {
		return nil, err
	}
	defer os.Remove(draft.Name())
	_, err = io.Copy(draft, count{a.Body, &p.fetched})
	if err = errors.Join(err, draft.Close()); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", u, err)
	}
	if err := os.Rename(draft.Name(), file); err != nil {
		return nil, err
	}
	return os.Open(file)
}

// count adds up what is read.
type count struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c count) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n.Add(int64(n))
	return n, err
}
