package httpd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"orchestrator/daemon/printable"
)

// Problem is what every error is answered with, as RFC 9457 has it (application/problem+json).
type Problem struct {
	Title  string   `json:"title" doc:"the status in words"`
	Status int      `json:"status" doc:"the HTTP status"`
	Detail string   `json:"detail" doc:"what was wrong, where, and what to do about it"`
	Near   []string `json:"near,omitempty" doc:"names that may have been meant"`
}

func (p *Problem) Error() string { return p.Detail }

// NewProblem makes one with the usual title.
func NewProblem(status int, format string, args ...any) Problem {
	return Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// WriteProblem answers with p.
func WriteProblem(w http.ResponseWriter, p Problem) {
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

// Clip keeps what somebody sent from filling the answer, or the log.
func Clip(s string) string { return printable.Clip(s, 100) }
