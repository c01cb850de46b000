package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
)

// Nothing is the body of a request or an answer that has none.
type Nothing struct{}

// Text is an answer in plain text.
type Text string

// route is one line of the table: all that the mux and the document know of it.
type route struct {
	Method, Path, ID, Summary string
	query                     []parameter
	in, out                   reflect.Type
	codes                     []int // that it may answer besides the usual ones
	open                      bool  // never needs the token
	raw                       http.Handler
	newBody                   func() any
	call                      func(*http.Request, any) (any, error)
	text                      bool // may answer in plain text instead, when asked to
}

type parameter struct {
	name, says string
	oneOf      []string
}

// get is a route that reads. The type of its answer is that of its handler.
func get[Out any](path, id, summary string, f func(*http.Request) (Out, error), codes ...int) route {
	return route{Method: http.MethodGet, Path: path, ID: id, Summary: summary, codes: codes,
		in: reflect.TypeFor[Nothing](), out: reflect.TypeFor[Out](),
		call: func(r *http.Request, _ any) (any, error) { return f(r) }}
}

// change is a route that changes something. The types of its body and its answer are those of its handler.
func change[In, Out any](method, path, id, summary string, f func(*http.Request, In) (Out, error), codes ...int) route {
	return route{Method: method, Path: path, ID: id, Summary: summary, codes: codes,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](),
		newBody: func() any { return new(In) },
		call:    func(r *http.Request, body any) (any, error) { return f(r, *body.(*In)) }}
}

func (rt route) with(query ...parameter) route { rt.query = query; return rt }

func (rt *route) pattern() string { return rt.Method + " " + rt.Path }

func (rt *route) changes() bool { return rt.Method != http.MethodGet }

func (rt *route) queryNames() []string {
	var out []string
	for _, p := range rt.query {
		out = append(out, p.name)
	}
	return out
}

// body reads and decodes the body of a request.
func (rt *route) body(w http.ResponseWriter, r *http.Request) (any, *Problem) {
	into := rt.newBody()
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
			return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes, and no change needs that many", tooBig.Limit)}
		}
		return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("read the body: %v; send it again", err)}
	}
	if len(data) == 0 {
		if rt.in == reflect.TypeFor[Nothing]() {
			return into, nil
		}
		return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("the body is empty; send a JSON object with %s", strings.Join(fieldNames(rt.in), ", "))}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the body is declared as %q; send JSON, with Content-Type: application/json", r.Header.Get("Content-Type"))}
	}
	if p := decode(data, into); p != nil {
		return nil, p
	}
	return into, nil
}

// decode reads a JSON object into a struct. It goes field by field, so that an error names the field that is wrong, and a field
// that does not exist the one that was probably meant.
func decode(data []byte, into any) *Problem {
	bad := func(format string, args ...any) *Problem {
		p := problem(http.StatusBadRequest, format, args...)
		return &p
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			return bad("the body is no JSON: at byte %d: %v", syntax.Offset, err)
		}
		return bad("the body must be a JSON object: %v", err)
	}
	if object == nil {
		return bad("the body must be a JSON object, and is null")
	}
	v := reflect.ValueOf(into).Elem()
	names := fieldNames(v.Type())
	for _, name := range sortedKeys(object) {
		i := -1
		for j, n := range names {
			if n == name {
				i = j
			}
		}
		if i < 0 {
			return unknown("field", name, names)
		}
		if err := json.Unmarshal(object[name], v.Field(i).Addr().Interface()); err != nil {
			if t := new(json.UnmarshalTypeError); errors.As(err, &t) {
				return bad("field %q: want %s, got %s", name, kindWord(t.Type), t.Value)
			}
			return bad("field %q: %v", name, err)
		}
	}
	return nil
}

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
