package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
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

// handle checks a question, and signs the answer.
func (p *Peers) handle(do func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.busy <- struct{}{}:
			defer func() { <-p.busy }()
		default:
			http.Error(w, `{"detail":"too many questions at once"}`, http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longest))
		if err != nil {
			http.Error(w, `{"detail":"the question is too long or incomplete"}`, http.StatusBadRequest)
			return
		}
		target, nonce := r.URL.Path, r.Header.Get(headerNonce)
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		secret := whose(*p.secrets.Load(), r.Header.Get(headerMAC), "question", r.Method, target, nonce, string(body))
		if len(nonce) < 16 || len(nonce) > 64 || secret == "" {
			http.Error(w, `{"detail":"the question is not signed with the secret of this daemon: `+
				`it (peers.secret_file) must be the same on all daemons"}`, http.StatusUnauthorized)
			return
		}
		status := http.StatusOK
		said, err := do(r, body)
		if err != nil {
			said, status = refusal{Detail: err.Error()}, http.StatusBadRequest
			if e, ok := err.(*errRefused); ok {
				said, status = refusal{e.says, e.version}, e.status
			}
		}
		out, err := json.Marshal(said)
		if err != nil { // our own plain types
			panic(fmt.Sprintf("encode %T: %v", said, err))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(headerMAC, sign(secret, "answer", r.Method, target, nonce, fmt.Sprint(status), string(out)))
		w.WriteHeader(status)
		_, _ = w.Write(out)
	}
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
