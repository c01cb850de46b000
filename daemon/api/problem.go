package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"orchestrator/backend"
	"orchestrator/daemon/httpd"
)

// refuse is a problem as an error.
func refuse(status int, format string, args ...any) error {
	p := httpd.NewProblem(status, format, args...)
	return &p
}

// unknown refuses a name that does not exist, and says which ones do.
func unknown(what, name string, names []string) *httpd.Problem {
	p := httpd.NewProblem(http.StatusBadRequest, "there is no %s %q", what, httpd.Clip(name))
	p.Near = httpd.Near(name, names)
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

// missing answers for a thing that is not here. names are compared with all that there are: collect them only now.
func missing(what, name string, names []string) error {
	p := httpd.NewProblem(http.StatusNotFound, "there is no %s %q", what, httpd.Clip(name))
	p.Near = httpd.Near(name, names)
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

// explain turns the error of a handler into an answer.
func explain(err error) *httpd.Problem {
	if p := new(httpd.Problem); errors.As(err, &p) {
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
	p := httpd.NewProblem(status, "%v", err)
	return &p
}
