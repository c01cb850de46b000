package drawing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Saved is what a daemon knew at one moment: its fleet, and all else that its decisions rest on. As JSON it is a
// snapshot with more fields, so a snapshot alone can be read as one.
type Saved struct {
	topology.Snapshot
	// Off says why recoveries are switched off everywhere; "" when they are on.
	Off        string               `json:"off,omitempty"`
	Thresholds *analysis.Thresholds `json:"thresholds,omitempty"` // nil: not saved
	ByCluster  []Cluster            `json:"clusters,omitempty"`   // sorted by name
}

// Cluster is what a daemon knew of a cluster besides its servers.
type Cluster struct {
	Cluster  string         `json:"cluster"`
	Policy   *plan.Policy   `json:"policy,omitempty"`   // nil: not saved
	Requests []plan.Request `json:"requests,omitempty"` // that have not ended
	Episodes []plan.Episode `json:"episodes,omitempty"` // newest first, open and ended
	Claims   []plan.Claim   `json:"claims,omitempty"`   // what was put before plan.Permit last
}

// Save puts the facts of clusters together. They are of one moment, and of one daemon.
func Save(clusters []plan.Facts) Saved {
	var s Saved
	s.Servers = []topology.Server{} // an empty list is printed as one
	for _, f := range clusters {
		if f.Snapshot.At.After(s.At) {
			s.At = f.Snapshot.At
		}
		s.Servers = append(s.Servers, f.Snapshot.Servers...)
		if k, ok := f.Snapshot.Promoted[f.Cluster]; ok {
			if s.Promoted == nil {
				s.Promoted = map[string]topology.Key{}
			}
			s.Promoted[f.Cluster] = k
		}
		s.Off, s.Thresholds = f.Off, &f.Thresholds
		s.ByCluster = append(s.ByCluster, Cluster{f.Cluster, &f.Policy, f.Requests, f.Episodes, f.Claims})
	}
	s.sort()
	return s
}

// Facts are what the decision about each cluster rests on. What was not saved is taken from the arguments.
func (s Saved) Facts(policy plan.Policy, thresholds analysis.Thresholds) []plan.Facts {
	if s.Thresholds != nil {
		thresholds = *s.Thresholds
	}
	var out []plan.Facts
	for _, name := range s.Snapshot.Clusters() {
		f := plan.Facts{Cluster: name, Snapshot: s.Of(name), Policy: policy, Thresholds: thresholds, Off: s.Off}
		for _, c := range s.ByCluster {
			if c.Cluster != name {
				continue
			}
			f.Requests, f.Episodes, f.Claims = c.Requests, c.Episodes, c.Claims
			if c.Policy != nil {
				f.Policy = *c.Policy
			}
		}
		out = append(out, f)
	}
	return out
}

// Decode reads what was saved: JSON as docs/snapshot.md says, or a drawing. What comes back has been checked: keys are
// set, unique and sorted, every word is one that the program knows, and sets are of the flavour of their server.
func Decode(data []byte) (Saved, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the mark that some editors put first
	body := bytes.TrimLeft(data, " \t\r\n")
	if len(body) == 0 {
		return Saved{}, errors.New("read snapshot: it is empty; want JSON or a drawing")
	}
	if body[0] == '{' {
		s, err := decodeJSON(data)
		if err != nil {
			return Saved{}, fmt.Errorf("read snapshot as JSON: %w", err)
		}
		return s, nil
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return Saved{}, errors.New("read snapshot: it is not text; want JSON or a drawing")
	}
	s, err := Parse(string(data))
	if err != nil {
		return Saved{}, fmt.Errorf("read snapshot as a drawing (JSON would begin with '{'): %w", err)
	}
	return s, nil
}

func decodeJSON(data []byte) (Saved, error) {
	var s Saved
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Saved{}, explain(data, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Saved{}, fmt.Errorf("line %d: something follows the snapshot", lineAt(data, d.InputOffset()))
	}
	s.sort()
	if err := check(s); err != nil {
		return s, err
	}
	s.Snapshot = s.Snapshot.Canonical()
	return s, nil
}

// explain says where in the text the trouble is, and which field was meant.
func explain(data []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %s", lineAt(data, syntax.Offset), syntax)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %q: found %s, want %s", lineAt(data, kind.Offset),
			strings.TrimPrefix(kind.Field, "Snapshot."), kind.Value, wanted(kind.Type))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("line %d: it ends in the middle", lineAt(data, int64(len(data))))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		// The decoder does not say where; the first place with that name is nearly always it.
		line := ""
		if at := bytes.Index(data, []byte(`"`+name+`"`)); at >= 0 {
			line = fmt.Sprintf("line %d: ", lineAt(data, int64(at)))
		}
		return fmt.Errorf("%sunknown field %q; the nearest is %q", line, clip(name), nearest(clip(name), fieldNames()))
	}
	return err
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	}
	return "a number (" + t.String() + ")"
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

// fieldNames are the names of all fields in what is saved.
func fieldNames() map[string]bool {
	names := map[string]bool{}
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || !strings.HasPrefix(t.PkgPath(), "orchestrator/") || seen[t] {
			return
		}
		seen[t] = true
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				names[name] = true
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Saved]())
	return names
}
