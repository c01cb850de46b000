package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func (a *API) documentRoutes() []route {
	return []route{get("/api/v1/openapi.json", "getOpenAPI", "This document: every route, as OpenAPI 3.1", a.openAPI)}
}

func (a *API) openAPI(*http.Request) (json.RawMessage, error) { return a.document, nil }

// object is a JSON object of the document. encoding/json sorts its keys, so the document is the same each time.
type object = map[string]any

var pathParameters = map[string]string{
	"cluster": "name of a cluster, its alias, or the address of any member",
	"key":     "address of a server: host or host:port (IPv6 as [address]:port)",
	"name":    "name of a tag: 1 to 64 letters, digits, dots, dashes and underscores",
	"id":      "id of an episode, or of a request",
}

// describe makes the OpenAPI document from the table of routes.
func (a *API) describe() ([]byte, error) {
	s := schemas{components: object{}, named: map[string]reflect.Type{}}
	paths := object{}
	for i := range a.routes {
		rt := &a.routes[i]
		item, _ := paths[rt.Path].(object)
		if item == nil {
			item = object{}
			paths[rt.Path] = item
		}
		item[strings.ToLower(rt.Method)] = a.operation(rt, &s)
	}
	s.of(reflect.TypeFor[httpd.Problem]())
	if s.err != nil {
		return nil, s.err
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{"title": "orchestrator", "version": "1",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "GET reads; POST, PUT and DELETE change, and any daemon takes a change. " +
				"Errors are application/problem+json."},
		"paths": paths,
		"components": object{"schemas": s.components, "securitySchemes": object{
			"bearer": object{"type": "http", "scheme": "bearer"}, "basic": object{"type": "http", "scheme": "basic"}}},
	})
}

func (a *API) operation(rt *route, s *schemas) object {
	var parameters []object
	for _, m := range inBraces.FindAllStringSubmatch(rt.Path, -1) {
		if pathParameters[m[1]] == "" {
			s.err = fmt.Errorf("path parameter %q of %s is not described", m[1], rt.Path)
		}
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true,
			"description": pathParameters[m[1]], "schema": object{"type": "string"}})
	}
	for _, q := range rt.query {
		schema := object{"type": "string"}
		if len(q.oneOf) > 0 {
			schema["enum"] = q.oneOf
		}
		parameters = append(parameters, object{"name": q.name, "in": "query", "description": q.says, "schema": schema})
	}
	out := object{"operationId": rt.ID, "summary": rt.Summary, "responses": a.responses(rt, s)}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if rt.in != reflect.TypeFor[Nothing]() {
		out["requestBody"] = object{"required": true,
			"content": object{"application/json": object{"schema": s.strict(rt.in)}}}
	}
	if a.options.NeedsToken(rt.access()) {
		out["security"] = []object{{"bearer": []string{}}, {"basic": []string{}}}
		out["x-role"] = rt.access().Role()
	}
	return out
}

func (a *API) responses(rt *route, s *schemas) object {
	content := object{}
	switch rt.out {
	case reflect.TypeFor[Nothing]():
	case reflect.TypeFor[Text]():
		content["text/plain"] = object{"schema": object{"type": "string"}}
	default:
		content["application/json"] = object{"schema": s.of(rt.out)}
		if rt.text {
			content["text/plain"] = object{"schema": object{"type": "string"}}
		}
		if rt.lines {
			content[linesMedia] = object{"schema": object{"type": "string"}}
		}
	}
	out := object{"200": object{"description": "the answer", "content": content}}
	if len(content) == 0 {
		out = object{"204": object{"description": "done"}}
	}
	for _, code := range rt.statuses(a.options.NeedsToken(rt.access())) {
		problem := object{"schema": object{"$ref": "#/components/schemas/Problem"}}
		out[strconv.Itoa(code)] = object{"description": http.StatusText(code),
			"content": object{"application/problem+json": problem}}
	}
	return out
}

// statuses are the errors that a route may answer.
func (rt *route) statuses(token bool) []int {
	out := append([]int{http.StatusBadRequest, http.StatusInternalServerError}, rt.codes...)
	if rt.changes() {
		out = append(out, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusGatewayTimeout)
	}
	if token {
		out = append(out, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

var inBraces = regexp.MustCompile(`\{(\w+)\}`)

// schemas collects a JSON schema for every named struct, by reflection.
type schemas struct {
	components object
	named      map[string]reflect.Type
	err        error
}

// enumerated are the strings that take few values. The codes of findings grow, and are not among them.
var enumerated = map[reflect.Type][]any{
	reflect.TypeFor[topology.Rule]():        {topology.Prefer, topology.Neutral, topology.PreferNot, topology.MustNot},
	reflect.TypeFor[topology.Flavor]():      {topology.MySQL, topology.MariaDB},
	reflect.TypeFor[topology.ThreadState](): {topology.Running, topology.Stopped, topology.Connecting},
	reflect.TypeFor[plan.Kind]():            values(plan.Kinds()),
	reflect.TypeFor[plan.RequestKind]():     values(plan.RequestKinds()),
	reflect.TypeFor[hook.Moment]():          values(hook.Moments()),
	reflect.TypeFor[hook.Outcome]():         values(hook.Outcomes()),
}

func values[T any](of []T) []any {
	out := make([]any, len(of))
	for i, v := range of {
		out[i] = v
	}
	return out
}

var described = map[reflect.Type]string{
	reflect.TypeFor[topology.Key]():     "address of a server, as host:port",
	reflect.TypeFor[topology.Version](): "major.minor.patch",
	reflect.TypeFor[topology.Failure](): "how asking failed; absent when it did not",
	reflect.TypeFor[analysis.Code]():    "what is wrong",
	reflect.TypeFor[time.Duration]():    "nanoseconds",
}

func (s *schemas) of(t reflect.Type) object {
	out := s.bare(t)
	if says := described[t]; says != "" {
		out["description"] = says
	}
	if values := enumerated[t]; values != nil {
		out["enum"] = values
	}
	return out
}

func (s *schemas) bare(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Pointer {
			return object{"type": "array", "items": object{"anyOf": []object{s.of(t.Elem()), {"type": "null"}}}}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return object{"$ref": "#/components/schemas/" + s.component(t)}
	}
	s.err = fmt.Errorf("type %v has no JSON schema", t)
	return object{}
}

// component puts the schema of a struct among the components, once, and returns its name there.
func (s *schemas) component(t reflect.Type) string {
	name := t.Name()
	if o, ok := s.named[name]; ok && o != t { // plan.Episode beside our own
		pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	if _, ok := s.named[name]; ok {
		return name
	}
	s.named[name] = t
	properties, required := object{}, []string{}
	schema := object{"type": "object", "properties": properties}
	s.components[name] = schema
	s.fields(t, properties, &required)
	slices.Sort(required)
	schema["required"] = required
	return name
}

// fields adds the fields of a struct; those of an embedded one stand among its own, as encoding/json has it.
func (s *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			s.fields(f.Type, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		schema := s.of(f.Type)
		if says := f.Tag.Get("doc"); says != "" {
			schema["description"] = says
		}
		properties[name] = schema
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
		}
	}
}

// strict is the schema of a body. A field that does not exist is refused, and one that may be left out is not required.
func (s *schemas) strict(t reflect.Type) object {
	ref := s.of(t)
	schema := s.components[t.Name()].(object)
	schema["additionalProperties"] = false
	return ref
}
