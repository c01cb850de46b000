package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"orchestrator/daemon/api"
)

// impatience is how long a read waits for one daemon before it asks the next one too. A machine that hangs must not
// make every command slow, least of all during an incident.
const impatience = 500 * time.Millisecond

// read asks the endpoints, each when those before it failed or were silent for a while, and takes the first answer.
func (c *Client) read(ctx context.Context, path string, out any) error {
	ctx, done := context.WithCancel(ctx)
	defer done() // ends the requests that are not needed any more, and so their goroutines
	order := c.order()
	words := make(chan word, len(order))
	asked, pending := 0, 0
	ask := func() {
		e := order[asked]
		asked++
		pending++
		go func() {
			words <- c.fetch(ctx, e, http.MethodGet, path, nil)
		}()
	}
	ask()
	hurry := time.NewTicker(impatience)
	defer hurry.Stop()
	var f failures
	for pending > 0 {
		select {
		case <-hurry.C:
		case w := <-words:
			pending--
			if w.err == nil {
				w.err = w.decode(out)
			}
			if w.err == nil {
				c.remember(w.endpoint)
				return nil
			}
			if f.add(w.err) {
				return w.err
			}
		}
		if asked < len(order) {
			ask()
		}
	}
	return f.sum()
}

// change sends a change to the leader, or where none is found, to any.
func (c *Client) change(ctx context.Context, method, path string, in, out any) error {
	order := c.order()
	if leader, _, err := c.Leader(ctx); err == nil {
		order = append([]string{leader}, slices.DeleteFunc(order, func(e string) bool { return e == leader })...)
	}
	return c.each(ctx, order, method, path, in, out)
}

func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	order := slices.Clone(c.endpoints)
	slices.SortStableFunc(order, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == c.good:
			return -1
		case b == c.good:
			return 1
		}
		return 0
	})
	return order
}

func (c *Client) remember(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.good = endpoint
}

// each sends a change to the endpoints in turn until one takes it.
func (c *Client) each(ctx context.Context, endpoints []string, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	var f failures
	for _, e := range endpoints {
		err := c.one(ctx, e, method, path, body, out)
		if err == nil {
			c.remember(e)
			return nil
		}
		if f.add(err) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return f.sum()
}

// once sends a change to the leader. Where no leader is found, it sends the change to the first daemon that takes it. A
// change that may have been taken is not sent again.
func (c *Client) once(ctx context.Context, path string, in, out any) error {
	order := c.order()
	if leader, _, err := c.Leader(ctx); err == nil {
		order = []string{leader}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	var f failures
	for _, e := range order {
		err := c.one(ctx, e, http.MethodPost, path, body, out)
		if err == nil {
			c.remember(e)
			return nil
		}
		if o := new(net.OpError); !errors.As(err, &o) || o.Op != "dial" {
			return err
		}
		f.add(err)
	}
	return f.sum()
}

// word is what an endpoint answered.
type word struct {
	endpoint, media, tag string
	data                 []byte
	err                  error
}

// held is an answer that the caller has: who gave it, and its tag.
type held struct{ endpoint, tag string }

// again reads what is read repeatedly. It reports whether the answer differs from the one that the caller has. If so,
// the answer is in out and in h.
func (c *Client) again(ctx context.Context, path string, h *held, out any) (bool, error) {
	if h.endpoint == "" {
		h.endpoint = c.order()[0]
	}
	w := c.fetch(ctx, h.endpoint, http.MethodGet, path, nil, "If-None-Match", h.tag)
	if w.err != nil || w.tag == h.tag && h.tag != "" {
		return false, w.err
	}
	h.tag = w.tag
	return true, w.decode(out)
}

// one sends one request to one endpoint, and decodes the answer.
func (c *Client) one(ctx context.Context, endpoint, method, path string, body []byte, out any) error {
	w := c.fetch(ctx, endpoint, method, path, body)
	if w.err != nil {
		return w.err
	}
	return w.decode(out)
}

// fetch sends one request to one endpoint. Headers are names and values in turn. Those without a value are left out.
// net/http requests gzip and unpacks it.
func (c *Client) fetch(ctx context.Context, endpoint, method, path string, body []byte, headers ...string) word {
	failed := func(format string, args ...any) word {
		return word{endpoint: endpoint, err: fmt.Errorf(format, args...)}
	}
	timeout := c.timeout
	if method == http.MethodPost {
		timeout = max(timeout, 35*time.Second)
	}
	ctx, done := context.WithTimeout(ctx, timeout)
	defer done()
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, bytes.NewReader(body))
	if err != nil {
		return failed("ask %s: %w", endpoint, err)
	}
	if body != nil {
		headers = append(headers, "Content-Type", "application/json")
	}
	if c.token != "" {
		headers = append(headers, "Authorization", "Bearer "+c.token)
	}
	if method != http.MethodGet {
		headers = append(headers, api.AccountHeader, c.account)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		if u := new(url.Error); errors.As(err, &u) {
			err = u.Err // whoever reads this knows the method and the URL
		}
		return failed("%s: %w", endpoint, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return failed("%s: read the answer: %w", endpoint, err)
	case len(data) > maxAnswer:
		return failed("%s: the answer is larger than %d bytes", endpoint, maxAnswer)
	}
	w := word{endpoint: endpoint, tag: res.Header.Get("ETag"), data: data}
	w.media, _, _ = mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode >= 300 && res.StatusCode != http.StatusNotModified {
		w.err = w.refusal(res.Status)
	}
	return w
}

// refusal is the error of an answer that is no success.
func (w word) refusal(status string) error {
	r := &Refused{Endpoint: w.endpoint}
	if w.media != "application/problem+json" || json.Unmarshal(w.data, &r.Problem) != nil || r.Status == 0 {
		return fmt.Errorf("%s: answered %s, and not as orchestrator does; is the address that of a daemon?",
			w.endpoint, status)
	}
	return r
}

func (w word) decode(out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *string:
		if w.media != "text/plain" {
			return fmt.Errorf("%s: answered %q, and not plain text; is the address that of a daemon?",
				w.endpoint, w.media)
		}
		*out = string(w.data)
		return nil
	case *api.Lines:
		if w.media != "application/x-ndjson" {
			return fmt.Errorf("%s: answered %q, and not lines of JSON; is the address that of a daemon?", w.endpoint,
				w.media)
		}
		*out = w.data
		return nil
	}
	if w.media != "application/json" {
		return fmt.Errorf("%s: answered %q, and not JSON; is the address that of a daemon?", w.endpoint, w.media)
	}
	if err := json.Unmarshal(w.data, out); err != nil {
		return fmt.Errorf("%s: decode the answer: %w; client and daemon may be of different versions", w.endpoint, err)
	}
	return nil
}
