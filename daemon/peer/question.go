package peer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// question is the head of a question: all that is signed of it. The body is signed by its length and its digest, so
// that the signature is checked before anything of the body is read.
type question struct {
	method, target string
	nonce          string
	// to is the process that is asked, and the time there, by its own clock that nobody can set: "ID MILLISECONDS".
	// Empty in the first question to a process, which is answered with who it is and what time it is there.
	to     string
	length int64
	digest string
}

func (q question) parts() []string {
	return []string{"question", q.method, q.target, q.nonce, q.to, strconv.FormatInt(q.length, 10), q.digest}
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// headOf reads the head of a question. Nothing is known about who sent it.
func headOf(r *http.Request) (question, error) {
	q := question{method: r.Method, target: r.URL.Path, nonce: r.Header.Get(headerNonce), to: r.Header.Get(headerTo),
		length: r.ContentLength, digest: r.Header.Get(headerDigest)}
	if r.URL.RawQuery != "" {
		q.target += "?" + r.URL.RawQuery
	}
	switch {
	case len(q.nonce) < 16 || len(q.nonce) > 64 || len(q.to) > 2*longestName:
		return q, fmt.Errorf("its nonce or its receiver is not valid")
	case q.length < 0 || q.length > longest:
		return q, fmt.Errorf("its body must have a declared length of at most %d bytes", longest)
	}
	return q, nil
}

const (
	// fresh is how far the time of a question may be from the time here: far more than one takes, and an answer
	// corrects what the sender believes.
	fresh = 5 * time.Second
	// mostHeard is how many questions are remembered for that long; the others ask a few in a second.
	mostHeard = 20_000
)

// ears remember what was asked, so that a question that somebody has recorded is not answered again. Another process
// has another ID, so nothing needs to outlive this one.
type ears struct {
	id    string
	began time.Time // its monotonic clock is the time of questions: nobody can set it

	mu    sync.Mutex
	heard map[string]time.Time // by nonce
	swept time.Time
}

// now is the time here, as questions have it.
func (e *ears) now() string { return fmt.Sprintf("%s %d", e.id, time.Since(e.began).Milliseconds()) }

// listen says why a question whose signature is right is not answered; "" when it is.
func (e *ears) listen(q question) string {
	id, at := cutLast(q.to)
	then, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id != e.id {
		return "it is not for this process"
	}
	now := time.Now()
	if late := now.Sub(e.began) - time.Duration(then)*time.Millisecond; late.Abs() > fresh {
		return fmt.Sprintf("it was asked %v ago", late.Round(time.Millisecond))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.swept) > fresh {
		for nonce, at := range e.heard {
			if now.Sub(at) > 2*fresh {
				delete(e.heard, nonce)
			}
		}
		e.swept = now
	}
	if _, again := e.heard[q.nonce]; again {
		return "it was answered before"
	}
	if len(e.heard) >= mostHeard {
		return "too many questions were asked"
	}
	e.heard[q.nonce] = now
	return ""
}

// cutLast cuts a text at its last space.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// clocks are those of the other processes, by base URL, as they were told last.
type clocks struct {
	mu sync.Mutex
	of map[string]told
}

// told is who answered last at an address, and the time there.
type told struct {
	id string
	at time.Duration // there
	by time.Time     // here, when the question for it was sent
}

// to is whom a question to that address is for, and the time there now.
func (c *clocks) to(base string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, known := c.of[base]
	if !known {
		return ""
	}
	return fmt.Sprintf("%s %d", t.id, (t.at + time.Since(t.by)).Milliseconds())
}

// learn takes down what a signed answer says of who sent it, and when.
func (c *clocks) learn(base, from string, asked time.Time) {
	id, at := cutLast(from)
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" || !proper(id) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[base] = told{id, time.Duration(ms) * time.Millisecond, asked}
}
