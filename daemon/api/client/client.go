// Package client calls orchestrator's daemons over their HTTP API. orchestrator-client is made of it.
//
// It knows several daemons and needs only one that answers. The one idea: reads and changes may both be sent again,
// because every change of the API is idempotent. So what one daemon can't do is sent to the next. Changes are sent to
// the leader first, because decisions rest on its memory.
package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes: a snapshot of ten thousand servers is some 30 MB.
const maxAnswer = 256 << 20

// Options of a Client.
type Options struct {
	// Endpoints are the daemons, as http://host:port, or host:port for short.
	Endpoints []string
	Token     string
	// Timeout of one try at one endpoint; 0 is 5 s. A discovery, which waits for a server, is given 35 s at least.
	Timeout time.Duration
	HTTP    *http.Client // nil: one of its own
}

// Client is safe for use by several goroutines.
type Client struct {
	endpoints []string
	token     string
	account   string // see SignedAs
	timeout   time.Duration
	http      *http.Client

	mu   sync.Mutex
	good string // the endpoint that answered last is asked first
}

// New checks the endpoints, and asks nobody yet.
func New(o Options) (*Client, error) {
	c := &Client{token: o.Token, timeout: o.Timeout, http: o.HTTP}
	if c.timeout <= 0 {
		c.timeout = 5 * time.Second
	}
	if c.http == nil {
		c.http = &http.Client{}
	}
	for _, e := range o.Endpoints {
		base, err := Endpoint(e)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(c.endpoints, base) {
			c.endpoints = append(c.endpoints, base)
		}
	}
	if len(c.endpoints) == 0 {
		return nil, errors.New("no endpoint is given; name at least one daemon, as http://127.0.0.1:3000")
	}
	return c, nil
}

// SignedAs says that what follows is signed with the name of an account of this host, because nobody gave a name. Where
// the token, or the like, proves whose it is, that name is used instead.
func (c *Client) SignedAs(account string) { c.account = account }

// Split reads a list of endpoints that are separated by commas or blanks.
func Split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// Endpoint completes the address of a daemon.
func Endpoint(text string) (string, error) {
	full := text
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil { // the error of url.Parse quotes what it was given, and that may hold a password
		return "", errors.New("an endpoint is no URL; write http://host:port")
	}
	switch {
	case u.User != nil:
		return "", fmt.Errorf("endpoint %s: it holds a user or a password, which would show in the list of processes; "+
			"put the token into a file", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("endpoint %q: want http://host:port", text)
	}
	return u.Scheme + "://" + u.Host + strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v1"), nil
}

// path joins parts to a path under /api/v1, each escaped.
func path(parts ...string) string {
	var b strings.Builder
	b.WriteString("/api/v1")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}
