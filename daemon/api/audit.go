package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/audit"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

func (a *API) auditRoutes() []route {
	trail := read[AuditPage]("/api/v1/audit", "getAudit",
		"Who has changed what through the API of any daemon, or was refused, oldest first",
		a.trail, 404, 503).with(inCluster,
		parameter{name: "who", says: "only what somebody has done, by the name that was proved, or that it is signed " +
			"with; of \"bob (sent by ann)\", either name"},
		parameter{name: "since", says: "only from this time on, as 2026-01-02T15:04:05Z"},
		parameter{name: "after", says: "only what comes after this: the value of next in the page before"},
		parameter{name: "limit", says: "how many records at most: 1 to 10000, default 1000"},
		parameter{name: "format", says: "json (the default), or lines: all that is kept, to verify it, one JSON " +
			"object a line; or send Accept: " + linesMedia, oneOf: []string{"json", "lines"}})
	trail.lines = true
	return []route{trail}
}

// Audit keeps what was changed through the API.
type Audit interface {
	// Append returns when the entry is stored, or after a moment: then it is stored later.
	Append(ctx context.Context, e audit.Entry)
	// Read returns what all daemons have kept.
	Read(ctx context.Context) (audit.Trail, error)
}

// AuditPage is a part of the audit records.
type AuditPage struct {
	Records []audit.Record `json:"records"`
	Next    string         `json:"next,omitempty" doc:"there are more: send this as after"`
}

const (
	linesMedia = "application/x-ndjson"
	// usualPage and longestPage are how many records an answer has.
	usualPage, longestPage = 1000, 10000
	// longestParameters is how many bytes of the body of a request are kept. A backup that is declared has more.
	longestParameters = 4 << 10
	longestText       = 1 << 10
)

func (a *API) trail(r *http.Request) (reply, error) {
	q := r.URL.Query()
	keep, err := a.sought(q.Get("cluster"), q.Get("who"), q.Get("since"))
	if err != nil {
		return reply{}, err
	}
	limit := usualPage
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > longestPage {
			return reply{}, refuse(http.StatusBadRequest, "limit: %q is not a number from 1 to %d", httpd.Clip(text),
				longestPage)
		}
	}
	kept, err := a.Audit.Read(r.Context())
	if err != nil {
		return reply{}, err
	}
	if q.Get("format") == "lines" || strings.Contains(r.Header.Get("Accept"), linesMedia) {
		if len(q)-len(q["format"]) > 0 {
			return reply{}, refuse(http.StatusBadRequest, "lines are always all that is kept, because a part could "+
				"not be verified: leave out the other parameters")
		}
		return reply{make: func() (any, error) {
			text, err := kept.Export()
			return Lines(text), err
		}}, nil
	}
	page, err := pageOf(kept.Documents, q.Get("after"), limit, keep)
	return reply{make: func() (any, error) { return page, nil }}, err
}

// sought says of a record whether it is one that is asked for.
func (a *API) sought(cluster, who, since string) (func(audit.Record) bool, error) {
	var from time.Time
	if since != "" {
		var err error
		if from, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return nil, refuse(http.StatusBadRequest, "since: %q is no time; write 2026-01-02T15:04:05Z",
				httpd.Clip(since))
		}
	}
	names := []string{cluster, cmp.Or(a.around(cluster), cluster)} // it may be gone, and its records are not
	return func(r audit.Record) bool {
		return !r.At.Before(from) && (cluster == "" || slices.Contains(names, r.Cluster)) &&
			(who == "" || r.Names(who))
	}, nil
}

// pageOf reads the documents, as many as are wanted.
func pageOf(documents []json.RawMessage, after string, limit int, keep func(audit.Record) bool) (AuditPage, error) {
	page := AuditPage{Records: []audit.Record{}}
	reached := after == ""
	for _, d := range documents {
		r, err := audit.Parse(d)
		switch {
		case err != nil: // for lines, and who verifies them
		case !reached:
			reached = place(r) == after
		case keep(r) && len(page.Records) == limit:
			page.Next = place(page.Records[limit-1])
			return page, nil
		case keep(r):
			page.Records = append(page.Records, r)
		}
	}
	if !reached {
		return page, refuse(http.StatusNotFound, "after: there is no record %q; it may have been removed by age: "+
			"begin again, with since", httpd.Clip(after))
	}
	return page, nil
}

// place names a record.
func place(r audit.Record) string { return r.Daemon + "/" + strconv.FormatInt(r.Number, 10) }

// refused records a change that somebody has no role for. Its body was not read.
func (a *API) refused(r *http.Request, rt *route, p httpd.Problem) {
	named, given := strings.Split(rt.Path, "/"), strings.Split(r.URL.EscapedPath(), "/")
	for i, name := range named {
		if m := inBraces.FindStringSubmatch(name); m != nil && i < len(given) {
			value, _ := url.PathUnescape(given[i])
			r.SetPathValue(m[1], value)
		}
	}
	e := a.entry(r, rt, nil)
	e.Status, e.Error = p.Status, printable.Clip(p.Detail, longestText)
	a.Audit.Append(r.Context(), e)
}

// entry is what will be recorded of a request, apart from its outcome. It is made before the request is served: after
// that, what it names may be gone.
func (a *API) entry(r *http.Request, rt *route, body any) audit.Entry {
	e := bare(r, rt)
	e.Cluster = a.concerned(r)
	for _, m := range inBraces.FindAllStringSubmatch(rt.Path, -1) {
		if e.Target == nil {
			e.Target = map[string]string{}
		}
		e.Target[m[1]] = printable.Clip(r.PathValue(m[1]), longestText)
	}
	if s, ok := body.(signed); ok {
		e.By = printable.Clip(*s.signature(), longestText)
	}
	e.Parameters, e.Reason = parameters(body)
	return e
}

// bare is an entry with what is known without looking at anything else.
func bare(r *http.Request, rt *route) audit.Entry {
	return audit.Entry{Who: proved(r.Context()), From: r.RemoteAddr, Change: rt.ID, Method: rt.Method, Route: rt.Path}
}

// proved is who sends the request that has this context.
func proved(ctx context.Context) audit.Who {
	who := httpd.Who(ctx)
	return audit.Who{Name: who.Name, Role: string(who.Role), Proof: string(who.Proof)}
}

// concerned is the cluster that a request is about; "" when it is about none, or one that is not known.
func (a *API) concerned(r *http.Request) string {
	if text := cmp.Or(r.PathValue("cluster"), r.PathValue("key")); text != "" {
		return a.around(text)
	}
	if id := r.PathValue("id"); id != "" {
		if e, _, err := a.Episodes.Episode(r.Context(), id); err == nil {
			return e.Cluster
		}
		for _, q := range a.Requests.Requests("") {
			if q.ID == id {
				return q.Cluster
			}
		}
	}
	return ""
}

// around is the cluster of that name, that alias, or with a server at that address. It does not search for what may
// have been meant: who names what does not exist must not cost much.
func (a *API) around(text string) string {
	if v, ok := a.Fleet.View(text); ok {
		return v.name()
	}
	if found := a.Fleet.Aliased(text); len(found) == 1 {
		return found[0]
	}
	if k, err := topology.ParseKey(text); err == nil {
		if v, ok := a.Fleet.Around(k); ok {
			return v.name()
		}
	}
	return ""
}

// parameters is a body as it is recorded, and the reason in it. No body has a secret.
func parameters(body any) (json.RawMessage, string) {
	text, err := json.Marshal(body)
	if err != nil || body == nil || string(text) == "{}" {
		return nil, ""
	}
	var says struct{ Reason, Comment string }
	_ = json.Unmarshal(text, &says) // another type of these fields is no reason
	if len(text) > longestParameters {
		sum := sha256.Sum256(text)
		text, _ = json.Marshal(map[string]any{"bytes": len(text), "sha256": hex.EncodeToString(sum[:])})
	}
	if says.Reason == "" {
		says.Reason = says.Comment
	}
	return text, printable.Clip(says.Reason, longestText)
}
