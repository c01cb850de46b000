package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"orchestrator/daemon/httpd"
)

// Nothing is the body of a request or an answer that has none.
type Nothing struct{}

// Text is an answer in plain text.
type Text string

// Lines is an answer of one JSON object a line.
type Lines []byte

// route is one line of the table: all that httpd and the document know of it.
type route struct {
	Method, Path, ID, Summary string
	query                     []parameter
	in, out                   reflect.Type
	codes                     []int        // that it may answer besides the usual ones
	open                      bool         // needs nothing
	least                     httpd.Access // what a change needs: see operators
	handler                   http.Handler // writes the answer itself; nil: call does not
	newBody                   func() any
	call                      func(*http.Request, any) (reply, error)
	text                      bool // may answer in plain text instead, when asked to
	lines                     bool // may answer one JSON object a line instead, when asked to
}

type parameter struct {
	name, says string
	oneOf      []string
}

// reply is what a handler returns. It must rest on one look at the fleet.
type reply struct {
	// edition tells this answer from all others that this route has given to the same URL; "": its content does.
	edition string
	// make makes the answer. It is not called where the client has this edition.
	make func() (any, error)
	// parts are the answer, if it is made already.
	parts []httpd.Part
}

// at is an answer that stays as it is while its edition does. make returns the type that the route declares.
func at[Out any](edition uint64, make func() Out) reply {
	return reply{edition: strconv.FormatUint(edition, 36), make: func() (any, error) { return make(), nil }}
}

// get is a route that reads. The type of its answer is that of its handler.
func get[Out any](path, id, summary string, f func(*http.Request) (Out, error), codes ...int) route {
	return read[Out](path, id, summary, func(r *http.Request) (reply, error) {
		return reply{make: func() (any, error) { return f(r) }}, nil
	}, codes...)
}

// read is a route whose answers have editions.
func read[Out any](path, id, summary string, f func(*http.Request) (reply, error), codes ...int) route {
	return route{Method: http.MethodGet, Path: path, ID: id, Summary: summary, codes: codes,
		in: reflect.TypeFor[Nothing](), out: reflect.TypeFor[Out](),
		call: func(r *http.Request, _ any) (reply, error) { return f(r) }}
}

// change is a route that changes something. The types of its body and its answer are those of its handler.
func change[In, Out any](method, path, id, summary string, f func(*http.Request, In) (Out, error), codes ...int) route {
	return route{Method: method, Path: path, ID: id, Summary: summary, codes: codes,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](),
		newBody: func() any { return new(In) },
		call: func(r *http.Request, body any) (reply, error) {
			result, err := f(r, *body.(*In))
			return reply{make: func() (any, error) { return result, nil }}, err
		}}
}

func (rt route) with(query ...parameter) route { rt.query = query; return rt }

// operators is a change that those may make who operate clusters: it is about one server, one cluster or one incident,
// and can be undone or is what they are there for. Other changes are for admins.
func (rt route) operators() route { rt.least = httpd.Operate; return rt }

func (rt *route) changes() bool { return rt.Method != http.MethodGet }

func (rt *route) access() httpd.Access {
	switch {
	case rt.open:
		return httpd.Open
	case rt.changes():
		return rt.least
	}
	return httpd.Read
}

// success is the status of an answer that is no problem.
func (rt *route) success() int {
	if rt.out == reflect.TypeFor[Nothing]() {
		return http.StatusNoContent
	}
	return http.StatusOK
}

// check says what is wrong with a query, or nil.
func (rt *route) check(q url.Values) *httpd.Problem {
	var names []string
	for _, p := range rt.query {
		names = append(names, p.name)
	}
	for name, values := range q {
		i := slices.Index(names, name)
		if i < 0 {
			return unknown("query parameter", name, names)
		}
		if oneOf := rt.query[i].oneOf; len(oneOf) > 0 && !slices.Contains(oneOf, values[0]) {
			return unknown("value of "+name, values[0], oneOf)
		}
		if len(values) > 1 {
			return &httpd.Problem{Status: http.StatusBadRequest,
				Detail: fmt.Sprintf("query parameter %q is given %d times; give it once", name, len(values))}
		}
	}
	return nil
}

// body reads and decodes the body of a request.
func (rt *route) body(w http.ResponseWriter, r *http.Request) (any, *httpd.Problem) {
	bad := func(status int, format string, args ...any) (any, *httpd.Problem) {
		p := httpd.NewProblem(status, format, args...)
		return nil, &p
	}
	into := rt.newBody()
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
		return bad(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes; no change needs that many",
			tooBig.Limit)
	}
	if err != nil {
		return bad(http.StatusBadRequest, "read the body: %v; send it again", err)
	}
	if len(data) == 0 {
		if rt.in == reflect.TypeFor[Nothing]() {
			return into, nil
		}
		return bad(http.StatusBadRequest, "the body is empty; send a JSON object with %s",
			strings.Join(fieldNames(rt.in), ", "))
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return bad(http.StatusUnsupportedMediaType,
			"the body is declared as %q; send JSON, with Content-Type: application/json",
			r.Header.Get("Content-Type"))
	}
	if p := decode(data, into); p != nil {
		return nil, p
	}
	sign(into, httpd.Who(r.Context()), r.Header.Get(AccountHeader) != "")
	return into, nil
}

// decode reads a JSON object into a struct. It goes field by field, so that an error names the wrong field. For a field
// that does not exist, the error names the one that was probably meant.
func decode(data []byte, into any) *httpd.Problem {
	bad := func(format string, args ...any) *httpd.Problem {
		p := httpd.NewProblem(http.StatusBadRequest, format, args...)
		return &p
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			return bad("the body is not JSON: at byte %d: %v", syntax.Offset, err)
		}
		return bad("the body must be a JSON object: %v", err)
	}
	if object == nil {
		return bad("the body must be a JSON object, and is null")
	}
	v := reflect.ValueOf(into).Elem()
	names := fieldNames(v.Type())
	for _, name := range sortedKeys(object) {
		i := slices.Index(names, name)
		if i < 0 {
			return unknown("field", name, names)
		}
		if err := json.Unmarshal(object[name], v.Field(i).Addr().Interface()); err != nil {
			if t := new(json.UnmarshalTypeError); errors.As(err, &t) {
				return bad("field %q: must be %s, not %s", name, kindWord(t.Type), t.Value)
			}
			return bad("field %q: %v", name, err)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// kindWord names a Go type as JSON does.
func kindWord(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// fieldNames are the JSON names of the fields of a flat struct, in order. Every field of a body has one.
func fieldNames(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		out = append(out, name)
	}
	return out
}
