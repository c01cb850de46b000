package drawing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"orchestrator/daemon/topology"
)

// Decode reads a saved snapshot: JSON as docs/snapshot.md says, or a drawing. What comes back has been
// checked: keys are set, unique and sorted, every word is one that the program knows, and sets are of the flavour of
// their server.
func Decode(data []byte) (topology.Snapshot, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the mark that some editors put first
	body := bytes.TrimLeft(data, " \t\r\n")
	if len(body) == 0 {
		return topology.Snapshot{}, errors.New("read snapshot: it is empty; want JSON or a drawing")
	}
	if body[0] == '{' {
		s, err := decodeJSON(data)
		if err != nil {
			return topology.Snapshot{}, fmt.Errorf("read snapshot as JSON: %w", err)
		}
		return s, nil
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return topology.Snapshot{}, errors.New("read snapshot: it is not text; want JSON or a drawing")
	}
	s, err := Parse(string(data))
	if err != nil {
		return topology.Snapshot{}, fmt.Errorf("read snapshot as a drawing (JSON would begin with '{'): %w", err)
	}
	return s, nil
}

// Encode writes a snapshot as indented JSON, sorted, that Decode reads back without loss.
func Encode(s topology.Snapshot) ([]byte, error) {
	s.Servers = append([]topology.Server{}, s.Servers...) // an empty list is printed as one
	s.Sort()
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	return append(data, '\n'), nil
}

func decodeJSON(data []byte) (topology.Snapshot, error) {
	var s topology.Snapshot
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return topology.Snapshot{}, explain(data, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return topology.Snapshot{}, fmt.Errorf("line %d: something follows the snapshot", lineAt(data, d.InputOffset()))
	}
	s.Sort()
	return s, checkSnapshot(s)
}

// explain says where in the text the trouble is, and which field was meant.
func explain(data []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %s", lineAt(data, syntax.Offset), syntax)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %q: found %s, want %s", lineAt(data, kind.Offset), kind.Field, kind.Value, wanted(kind.Type))
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
		return fmt.Errorf("%sunknown field %q; the nearest is %q", line, clip(name), nearestField(clip(name)))
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

// nearestField is the field of a snapshot whose name takes the fewest changes of letters.
func nearestField(word string) string {
	best, least := "", 1<<30
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[topology.Snapshot]().PkgPath() {
			return
		}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if n := Distance(word, name); name != "" && n < least {
				best, least = name, n
			}
			walk(t.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[topology.Snapshot]())
	return best
}

var (
	states = []topology.ThreadState{topology.Running, topology.Stopped, topology.Connecting}
	rules  = []topology.Rule{"", topology.Prefer, topology.Neutral, topology.PreferNot, topology.MustNot}
)

// check says what a snapshot from outside must not hold.
func checkSnapshot(s topology.Snapshot) error {
	if s.At.IsZero() {
		return errors.New(`"at", the moment of the snapshot, is missing`)
	}
	for n, v := range s.Servers {
		if v.Key.IsZero() {
			return errors.New(`a server has no "key"`)
		}
		if n > 0 && s.Servers[n-1].Key == v.Key {
			return fmt.Errorf("%v is there twice", v.Key)
		}
		if v.Key.Detached() {
			return fmt.Errorf("%v: only a source can be detached", v.Key)
		}
		if err := checkServer(v); err != nil {
			return fmt.Errorf("%v: %w", v.Key, err)
		}
	}
	for cluster, k := range s.Promoted {
		if k.IsZero() {
			return fmt.Errorf("promoted: cluster %q has no key", clip(cluster))
		}
	}
	return nil
}

func checkServer(v topology.Server) error {
	if f := v.Probe.Failure; f != topology.OK && failureTexts[f] == "" {
		return fmt.Errorf("failure %q: want %s", clip(string(f)), failureNames)
	}
	if !slices.Contains(rules, v.Rule) {
		return fmt.Errorf("promotion_rule %q: want prefer, neutral, prefer_not or must_not", clip(string(v.Rule)))
	}
	if slices.ContainsFunc(v.Names, topology.Key.IsZero) {
		return errors.New("names: one of them is empty")
	}
	i := v.Instance
	if i == nil {
		return nil
	}
	if i.Flavor != topology.MySQL && i.Flavor != topology.MariaDB {
		return fmt.Errorf("flavor %q: want mysql or mariadb", clip(string(i.Flavor)))
	}
	if slices.ContainsFunc(i.Registered, topology.Key.IsZero) {
		return errors.New("registered: one of them is empty")
	}
	if i.Stalled != nil && stallStates[i.Stalled.Cause] == "" {
		return fmt.Errorf("stalled: cause %q: want disk_full, semi_sync or commit", clip(i.Stalled.Cause))
	}
	sets := i.Executed.Union(i.Purged).Union(i.BinlogWritten)
	for _, c := range i.Channels {
		if c.Source.IsZero() {
			return errors.New(`a channel has no "source"`)
		}
		if !slices.Contains(states, c.IO) || !slices.Contains(states, c.SQL) {
			return fmt.Errorf("channel from %v: io %q and sql %q: want yes, no or connecting", c.Source, clip(string(c.IO)), clip(string(c.SQL)))
		}
		sets = sets.Union(c.Received)
	}
	if i.Flavor == topology.MySQL && len(sets.LastWriters()) > 0 || i.Flavor == topology.MariaDB && len(sets.Writers()) > 0 {
		return fmt.Errorf("a %s server with GTIDs of the other flavour", i.Flavor)
	}
	return nil
}
