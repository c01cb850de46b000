package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"orchestrator/backend"
)

// Problem is what every error is answered with, as RFC 9457 has it (application/problem+json).
type Problem struct {
	Title  string   `json:"title" doc:"the status in words"`
	Status int      `json:"status" doc:"the HTTP status"`
	Detail string   `json:"detail" doc:"what was wrong, where, and what to do about it"`
	Near   []string `json:"near,omitempty" doc:"names that may have been meant"`
}

func (p *Problem) Error() string { return p.Detail }

func problem(status int, format string, args ...any) Problem {
	return Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// refuse is problem as an error.
func refuse(status int, format string, args ...any) error {
	p := problem(status, format, args...)
	return &p
}

// unknown refuses a name that does not exist, and says which ones do.
func unknown(what, name string, names []string) *Problem {
	p := problem(http.StatusBadRequest, "there is no %s %q", what, clip(name))
	p.Near = near(name, names)
	switch {
	case len(p.Near) > 0:
		p.Detail += fmt.Sprintf("; did you mean %q?", p.Near[0])
	case len(names) > 0:
		p.Detail += "; there are " + strings.Join(names, ", ")
	default:
		p.Detail += "; this takes none"
	}
	return &p
}

// missing answers for a thing that is not here.
func missing(what, name string, names []string) error {
	p := problem(http.StatusNotFound, "there is no %s %q", what, clip(name))
	p.Near = near(name, names)
	switch {
	case len(p.Near) > 0:
		p.Detail += "; near are " + strings.Join(p.Near, ", ")
	case len(names) > 0 && len(names) <= 5:
		p.Detail += "; there are " + strings.Join(names, ", ")
	case len(names) == 0:
		p.Detail += "; none is known yet"
	}
	return &p
}

// clip keeps what somebody sent from filling the answer.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// explain turns the error of a handler into an answer.
func explain(err error) *Problem {
	if p := new(Problem); errors.As(err, &p) {
		return p
	}
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, backend.ErrUnavailable): // also when it took its time to be so
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	}
	p := problem(status, "%v", err)
	return &p
}

func writeProblem(w http.ResponseWriter, p Problem) {
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and numbers always encode
		body = []byte(`{"title":"Internal Server Error","status":500,"detail":"the error could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}
