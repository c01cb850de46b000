package config

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"orchestrator/daemon/topology"
)

// parse reads a configuration. The TOML goes through a map, not straight into the struct: a decoder stops at the first
// wrong value, and all of them must be reported at once.
func parse(file string, data []byte) (Config, Problems) {
	r := reader{file: file}
	c := Default()
	if deep(data) {
		r.add("", "is not a configuration: values are nested deeper than any key needs")
		return c, r.problems
	}
	var have map[string]any
	if _, err := toml.Decode(string(data), &have); err != nil {
		var syntax toml.ParseError
		if !errors.As(err, &syntax) {
			r.add("", "is not TOML: %v", err)
			return c, r.problems
		}
		r.problems = append(r.problems,
			Problem{file, syntax.Position.Line, syntax.LastKey, "is not TOML: " + syntax.Message, false})
		return c, r.problems
	}
	r.lines = locate(string(data))
	r.table("", reflect.ValueOf(&c).Elem(), have)
	r.values(&c)
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return c, r.problems
}

// deepest is how deep values may be nested. Keys of ours need four levels.
const deepest = 100

// deep guards the TOML decoder against a file that is made to exhaust it: it recurses for each bracket, and copies what
// it has of a dotted key for each dot. It need not be exact: no configuration comes near the bound.
func deep(data []byte) bool {
	depth := 0
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			continue
		}
		dots := 0
		for _, b := range line {
			switch b {
			case '[', '{':
				depth++
			case ']', '}', '\n': // brackets over several lines are rare, and may count for less
				depth = max(0, depth-1)
			case '.':
				dots++
			case ',', '=':
				dots = 0
			}
			if max(depth, dots) > deepest {
				return true
			}
		}
	}
	return false
}

// reader fills a Config and collects what is wrong on the way.
type reader struct {
	file     string
	lines    map[string]int // path of a key → its line
	problems Problems
	bad      map[string]bool // paths whose value was refused: nothing else is said about them
}

func (r *reader) add(key, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, r.line(key), key, fmt.Sprintf(format, args...), false})
	if r.bad == nil {
		r.bad = map[string]bool{}
	}
	r.bad[key] = true
}

// line is that of the key, or of the table that it belongs to.
func (r *reader) line(key string) int {
	for key != "" {
		if n, ok := r.lines[key]; ok {
			return n
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return 0
}

// about says whether something is wrong with the key, or with an item of its list.
func (r *reader) about(key string) bool {
	return slices.ContainsFunc(r.problems, func(one Problem) bool { return strings.HasPrefix(one.Key, key) })
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func (r *reader) table(at string, into reflect.Value, have map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		key := join(at, name)
		field, ok := fieldOf(into.Type(), name)
		if !ok {
			r.add(key, "%s", unknown(into.Type(), at, name))
			continue
		}
		r.value(key, field.Tag, into.FieldByIndex(field.Index), have[name])
	}
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("toml") == name && name != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keysOf(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("toml"); name != "-" {
			out = append(out, name)
		}
	}
	return out
}

// value takes over one value, or says why not.
func (r *reader) value(key string, tag reflect.StructTag, into reflect.Value, v any) {
	switch target := into.Addr().Interface().(type) {
	case *time.Duration:
		r.duration(key, tag, target, v)
		return
	case *[]PolicyConfig:
		*target = blocks(r, key, v, defaultPolicy)
		return
	case *[]HookConfig:
		*target = blocks(r, key, v, defaultHook)
		return
	case *[]UserConfig:
		*target = blocks(r, key, v, func() UserConfig { return UserConfig{} })
		return
	case encoding.TextUnmarshaler:
		r.parsed(key, target, v)
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		if table, ok := v.(map[string]any); ok {
			r.table(key, into, table)
		} else {
			r.add(key, "is a table: write [%s] on a line of its own, and its keys below; got %s", key, describe(v))
		}
	case reflect.Slice:
		r.list(key, tag, into, v)
	case reflect.String:
		r.word(key, tag, into, v)
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			into.SetBool(b)
		} else {
			r.add(key, "must be true or false, without quotes; got %s", describe(v))
		}
	case reflect.Int:
		r.number(key, tag, into, v)
	}
}

func (r *reader) duration(key string, tag reflect.StructTag, into *time.Duration, v any) {
	s, ok := v.(string)
	if !ok {
		r.add(key, `must be a duration in quotes, with its unit, such as "5s"; got %s`, describe(v))
		return
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.add(key, `%q is not a duration; write a number and its unit (ms, s, m, h), such as "5s"`, s)
		return
	}
	low, _ := time.ParseDuration(tag.Get("min"))
	high, _ := time.ParseDuration(tag.Get("max"))
	if d < low || d > high {
		r.add(key, "%q is out of range; it must be from %s to %s", s, tag.Get("min"), tag.Get("max"))
		return
	}
	*into = d
}

// parsed reads a text of a type that parses itself, such as a topology.Key.
func (r *reader) parsed(key string, into encoding.TextUnmarshaler, v any) {
	s, ok := v.(string)
	switch {
	case !ok:
		r.add(key, "must be a text in quotes; got %s", describe(v))
	case s == "":
		r.add(key, "is empty")
	default:
		if err := into.UnmarshalText([]byte(s)); err != nil {
			r.add(key, "%v", err)
		}
	}
}

// list reads a list. It replaces the default, and does not add to it.
func (r *reader) list(key string, tag reflect.StructTag, into reflect.Value, v any) {
	list, ok := v.([]any)
	if !ok {
		r.add(key, `must be a list such as ["a", "b"]; got %s`, describe(v))
		return
	}
	into.SetZero()
	for i, item := range list {
		one := reflect.New(into.Type().Elem()).Elem()
		where := fmt.Sprintf("%s[%d]", key, i)
		if one.Kind() == reflect.Pointer {
			one.Set(reflect.New(one.Type().Elem()))
			r.value(where, tag, one.Elem(), item)
		} else {
			r.value(where, tag, one, item)
		}
		if k, ok := one.Interface().(topology.Key); ok && slices.Contains(into.Interface().([]topology.Key), k) {
			r.add(where, "%v is listed twice", k)
		}
		if !r.bad[where] {
			into.Set(reflect.Append(into, one))
		}
	}
}

func (r *reader) word(key string, tag reflect.StructTag, into reflect.Value, v any) {
	s, ok := v.(string)
	if !ok {
		r.add(key, "must be a text in quotes; got %s", describe(v))
		return
	}
	if words := strings.Fields(tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, s) {
		r.add(key, "%q is not allowed; it must be %s%s", s, either(words), meant(s, words))
		return
	}
	into.SetString(s)
}

func (r *reader) number(key string, tag reflect.StructTag, into reflect.Value, v any) {
	n, ok := v.(int64)
	if !ok {
		r.add(key, "must be a whole number, without quotes; got %s", describe(v))
		return
	}
	low, _ := strconv.ParseInt(tag.Get("min"), 10, 64)
	high, _ := strconv.ParseInt(tag.Get("max"), 10, 64)
	if n < low || n > high {
		r.add(key, "%d is out of range; it must be from %d to %d", n, low, high)
		return
	}
	into.SetInt(n)
}

// blocks reads a table of the form [[name]].
func blocks[T any](r *reader, key string, v any, fresh func() T) []T {
	tables, ok := v.([]map[string]any)
	if !ok {
		r.add(key, "must be blocks that begin with [[%s]]; got %s", key, describe(v))
		return nil
	}
	var out []T
	for i, table := range tables {
		one := fresh()
		r.table(fmt.Sprintf("%s[%d]", key, i), reflect.ValueOf(&one).Elem(), table)
		out = append(out, one)
	}
	return out
}

// describe never shows a text: it may be a password in the wrong place.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "a text"
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func either(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}
