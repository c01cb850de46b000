package peer

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// What is answered, all below Path.
const (
	Path       = "/api/v1/peer/"
	pathStatus = Path + "standing" // the words are those of earlier versions
	pathLeave  = Path + "farewell"
	pathReturn = Path + "return"
)

const (
	longest     = 64 << 10 // bytes of a body
	longestName = 200      // bytes of a name, an id, a face
	mostNames   = 100
)

// answer is the answer to a question about a server, and about the daemon.
type answer struct {
	plan.PeerStatus
	About   topology.Key `json:"about,omitzero"`
	Reaches bool         `json:"reaches,omitempty"`
}

// notice tells that a daemon leaves, or that it is running again.
type notice struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Version int64  `json:"version"`
}

// refusal is the body of an answer that refuses.
type refusal struct {
	Detail  string `json:"detail"`
	Version int64  `json:"version,omitempty"` // on record, higher than the one that was sent
	Again   bool   `json:"again,omitempty"`   // ask again: the answer says who is asked, and what time it is there
}

// decodeAnswer reads the body of an answer. Its sender knows the secret, and may run another version.
func decodeAnswer(body []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("read its answer: %w", err)
	}
	for what, name := range map[string]string{"id": a.ID, "name": a.PeerStatus.Name} {
		if name == "" || !proper(name) {
			return answer{}, fmt.Errorf("read its answer: %.80q is not a valid %s", name, what)
		}
	}
	if a.Term < 0 || !proper(a.Leader) || !proper(a.Identity) || len(a.Left) > mostNames ||
		len(a.Excused) > mostNames {
		return answer{}, fmt.Errorf("read its answer: it is not valid (term %d)", a.Term)
	}
	for _, name := range append(a.Left, a.Excused...) {
		if !proper(name) {
			return answer{}, fmt.Errorf("read its answer: %.80q is not a valid name", name)
		}
	}
	return a, nil
}

func decodeNotice(body []byte) (notice, error) {
	var n notice
	if err := json.Unmarshal(body, &n); err != nil {
		return notice{}, fmt.Errorf("read the notice: %w", err)
	}
	if n.Name == "" || n.ID == "" || !proper(n.Name) || !proper(n.ID) || n.Version <= 0 {
		return notice{}, fmt.Errorf("read the notice: name %.80q, id %.80q, version %d: one of them is not valid",
			n.Name, n.ID, n.Version)
	}
	return n, nil
}

func proper(name string) bool {
	return len(name) <= longestName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// Handler answers the other daemons, below Path. It needs no token: each question is signed.
func (p *Peers) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, p.handle(p.tell))
	mux.HandleFunc("POST "+pathLeave, p.handle(p.recordLeave))
	mux.HandleFunc("POST "+pathReturn, p.handle(p.recordReturn))
	return mux
}

// handle checks a question, and signs the answer. Until the signature of its head is known to be right, a question
// costs one digest: it takes no place among those that are answered, and nothing of its body is read.
func (p *Peers) handle(do func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := headOf(r)
		if err != nil {
			p.reject(w, http.StatusBadRequest, err.Error())
			return
		}
		t := p.trust.Load()
		secret, signed := whose(t.secrets, r.Header.Get(headerMAC), q.parts()...)
		if !signed {
			p.reject(w, http.StatusUnauthorized, "the question is not signed with the secret of this daemon: it "+
				"(peers.secret_file) must be the same on all daemons, and so must the version of the program")
			return
		}
		if why := t.doubt(r.TLS, x509.ExtKeyUsageClientAuth, p.hosts()...); why != "" {
			p.refused.log(p.o.Logger, r.RemoteAddr, why)
			p.reject(w, http.StatusForbidden, why)
			return
		}
		reply := func(status int, said any) { p.reply(w, q, secret, status, said) }
		if why := p.ears.listen(q); why != "" {
			reply(http.StatusConflict, refusal{Detail: "the question is not answered: " + why, Again: true})
			return
		}
		select {
		case p.busy <- struct{}{}:
			defer func() { <-p.busy }()
		default:
			reply(http.StatusServiceUnavailable, refusal{Detail: "too many questions at once"})
			return
		}
		body, err := p.bodyOf(w, r, q)
		if err != nil || digestOf(body) != q.digest {
			reply(http.StatusBadRequest, refusal{Detail: "the body of the question is not the one that was signed"})
			return
		}
		said, err := do(r, body)
		if e := (*errRefused)(nil); errors.As(err, &e) {
			reply(e.status, refusal{Detail: e.says, Version: e.version})
		} else if err != nil {
			reply(http.StatusBadRequest, refusal{Detail: err.Error()})
		} else {
			reply(http.StatusOK, said)
		}
	}
}

// bodyOf reads the body of a question. Who knows the secret has sent it already.
func (p *Peers) bodyOf(w http.ResponseWriter, r *http.Request, q question) ([]byte, error) {
	if q.length == 0 {
		return nil, nil
	}
	bound := http.NewResponseController(w) // in a test there may be no connection, and then there is no deadline
	_ = bound.SetReadDeadline(time.Now().Add(p.o.Timeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, q.length+1))
	_ = bound.SetReadDeadline(time.Time{}) // the server still listens for the end of the connection
	return body, err
}

// reject answers somebody who has not shown that they are another daemon.
func (p *Peers) reject(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(p.o.Timeout)) // for a body that nobody wants
	out, _ := json.Marshal(refusal{Detail: why})                                   // our own plain type
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(out)
}

// reply sends a signed answer.
func (p *Peers) reply(w http.ResponseWriter, q question, secret string, status int, said any) {
	out, err := json.Marshal(said)
	if err != nil { // our own plain types
		panic(fmt.Sprintf("encode %T: %v", said, err))
	}
	from := p.ears.now()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(headerFrom, from)
	w.Header().Set(headerMAC, sign(secret, answerParts(q, status, from, out)...))
	w.WriteHeader(status)
	_, _ = w.Write(out)
}

// answerParts are what is signed of an answer: with the question, so that it answers no other.
func answerParts(q question, status int, from string, body []byte) []string {
	return []string{"answer", q.method, q.target, q.nonce, strconv.Itoa(status), from, string(body)}
}

// reasonOf is why a question without a right certificate is refused; "" when it is not said. Nobody has signed it.
func reasonOf(body []byte) string {
	var says refusal
	_ = json.Unmarshal(body, &says)
	return clip(says.Detail, 700)
}

func (p *Peers) tell(r *http.Request, _ []byte) (any, error) {
	a := answer{}
	if about := r.URL.Query().Get("about"); about != "" {
		k, err := topology.ParseKey(about)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(r.Context(), p.o.Timeout*2/3)
		defer cancel()
		a.About, a.Reaches = k, p.o.Reach(ctx, k)
	}
	a.PeerStatus = p.Status() // last: as it is now
	return a, nil
}
