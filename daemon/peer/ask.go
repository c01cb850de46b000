package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Ask asks every daemon of the configuration, and with a key also whether it can reach that server now. It returns
// within Options.Timeout.
func (p *Peers) Ask(ctx context.Context, about topology.Key) []plan.Peer {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	out := make([]plan.Peer, len(p.o.Daemons))
	var all sync.WaitGroup
	for i, base := range p.o.Daemons {
		all.Go(func() { out[i] = p.ask(ctx, base, about) })
	}
	all.Wait()
	seen := map[string]string{p.o.ID: "this daemon itself", p.o.Name: "this daemon"}
	for i := range out {
		if a := &out[i]; a.Answered {
			refuseTwice(a, seen)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, base := range p.o.Daemons {
		for _, l := range p.left {
			if !out[i].Answered && l.URL == base {
				out[i].PeerStatus.Name = l.Name
			}
		}
	}
	return out
}

// refuseTwice refuses the answer of a daemon that was seen before, by its ID or its name.
func refuseTwice(a *plan.Peer, seen map[string]string) {
	if other, twice := seen[a.ID]; twice {
		*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it is %s: correct peers.daemons", other)}
	} else if other, twice := seen[a.PeerStatus.Name]; twice {
		*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it has the same name as %s, %q", other, a.PeerStatus.Name)}
	} else {
		seen[a.ID], seen[a.PeerStatus.Name] = "the same as "+a.Name, a.Name
	}
}

func (p *Peers) ask(ctx context.Context, base string, about topology.Key) plan.Peer {
	target := pathStatus
	if !about.IsZero() {
		target += "?about=" + url.QueryEscape(about.String())
	}
	out := plan.Peer{Name: short(base)}
	body, err := p.call(ctx, http.MethodGet, base, target, nil)
	if err == nil {
		var a answer
		if a, err = decodeAnswer(body); err == nil && a.About != about {
			err = fmt.Errorf("it was asked about %v, and answers about %v", about, a.About)
		}
		if err == nil {
			out.Answered, out.PeerStatus, out.Reaches = true, a.PeerStatus, a.Reaches
		}
	}
	if err != nil {
		out.Why, out.Refused = p.words(ctx, err), errors.Is(err, syscall.ECONNREFUSED)
	}
	return out
}

// errRefused is an answer of another daemon that refuses.
type errRefused struct {
	status  int
	version int64
	says    string
	again   bool
}

func (e *errRefused) Error() string { return e.says }

// call asks, and returns the body of an answer whose signature is right. A process that was not asked before, or that
// believes the question to be old, first says who it is and what time it is there. And what failed while the secret or
// the certificate was replaced here is asked with the new one.
func (p *Peers) call(ctx context.Context, method, base, target string, body []byte) ([]byte, error) {
	t := p.trust.Load()
	got, err := p.send(ctx, t, method, base, target, body)
	now := p.trust.Load()
	if e := (*errRefused)(nil); errors.As(err, &e) && e.again || err != nil && now != t {
		got, err = p.send(ctx, now, method, base, target, body)
	}
	return got, err
}

// send sends one signed question.
func (p *Peers) send(ctx context.Context, t *trust, method, base, target string, body []byte) ([]byte, error) {
	if len(t.secrets) == 0 {
		return nil, errors.New("this daemon has neither a secret (peers.secret_file) nor a certificate (peers.cert)")
	}
	if t.Certificate != nil && !strings.HasPrefix(base, "https://") {
		return nil, errors.New("certificates need TLS: write https:// in peers.daemons")
	}
	var random [16]byte
	rand.Read(random[:]) // never fails
	q := question{method: method, target: target, nonce: hex.EncodeToString(random[:]), to: p.clocks.to(base),
		length: int64(len(body)), digest: digestOf(body)}
	r, err := q.request(ctx, base, body, t.secrets[0])
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	w, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	got, err := io.ReadAll(io.LimitReader(w.Body, longest+1))
	if err != nil {
		return nil, err
	}
	if err := t.believe(q, base, w, got); err != nil {
		return nil, err
	}
	p.clocks.learn(base, w.Header.Get(headerFrom), asked)
	if w.StatusCode != http.StatusOK {
		var says refusal
		if err := json.Unmarshal(got, &says); err != nil {
			return nil, fmt.Errorf("it answers with status %d and no reason", w.StatusCode)
		}
		return nil, &errRefused{w.StatusCode, says.Version, says.Detail, says.Again}
	}
	return got, nil
}

// request is the question as it is sent: signed with the key.
func (q question) request(ctx context.Context, base string, body []byte, key string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, base+q.target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{headerNonce: q.nonce, headerTo: q.to, headerDigest: q.digest,
		headerMAC: sign(key, q.parts()...)} {
		r.Header.Set(name, value)
	}
	return r, nil
}

// believe says why an answer does not count: only that of a daemon with our secret, or the right certificate, does.
func (t *trust) believe(q question, base string, w *http.Response, got []byte) error {
	doubt := t.doubt(w.TLS, x509.ExtKeyUsageServerAuth, hostOf(base))
	parts := answerParts(q, w.StatusCode, w.Header.Get(headerFrom), got)
	switch {
	case len(got) > longest:
		return fmt.Errorf("its answer is longer than %d bytes", longest)
	case doubt != "": // it may have expired since TLS began
		return errors.New(doubt)
	case w.StatusCode == http.StatusForbidden && reasonOf(got) != "":
		return fmt.Errorf("it refuses the question: %s", reasonOf(got))
	case w.StatusCode == http.StatusUnauthorized:
		return errors.New("it refuses our signature: the secret (peers.secret_file) must be the same on all " +
			"daemons, and so must the version of the program")
	case w.Header.Get(headerMAC) == "":
		return fmt.Errorf("what answers there (status %d) is not a daemon that has our secret", w.StatusCode)
	case !signed(w.Header.Get(headerMAC), t.secrets[0], parts...):
		return errors.New("its answer is not signed with our secret: it (peers.secret_file) must be the same " +
			"on all daemons")
	}
	return nil
}

// words are the same for the same failure, so that it is logged and stored once: without local ports and times.
func (p *Peers) words(ctx context.Context, err error) string {
	var (
		number syscall.Errno
		dns    *net.DNSError
		verify *tls.CertificateVerificationError
		below  *url.Error
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil && !errors.Is(err, context.Canceled):
		return fmt.Sprintf("not within %s", p.o.Timeout)
	case errors.Is(err, context.Canceled):
		return "the question was cancelled"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &dns):
		return "there is no host " + dns.Name
	case errors.As(err, &verify):
		if len(verify.UnverifiedCertificates) > 0 {
			return untrusted(verify.UnverifiedCertificates[0], verify.Err)
		}
		return verify.Error()
	case errors.As(err, &below):
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			return op.Err.Error()
		}
		return below.Err.Error()
	}
	return err.Error()
}
