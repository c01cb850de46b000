package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Changes names the keys that differ in next: those that a running daemon takes over, and those that wait for a
// restart. A file with another content is named by its key; no secret is ever shown.
func (c Config) Changes(next Config) (reloadable, needRestart []string) {
	c.eachLeaf(func(key string, f reflect.StructField, old reflect.Value) {
		if reflect.DeepEqual(text(old), text(next.leaf(key))) {
			return
		}
		list := &needRestart
		if takesOver(f, old, next.leaf(key)) {
			list = &reloadable
		}
		if file := f.Tag.Get("file"); file != "" {
			section, _, _ := strings.Cut(key, ".")
			key = section + "." + file
		}
		if !slices.Contains(*list, key) {
			*list = append(*list, key)
		}
	})
	return reloadable, needRestart
}

// Reloaded is c with what a running daemon takes over from next.
func (c Config) Reloaded(next Config) Config {
	out := c
	out.eachLeaf(func(key string, f reflect.StructField, v reflect.Value) {
		if takesOver(f, v, next.leaf(key)) {
			v.Set(next.leaf(key))
		}
	})
	return out
}

// takesOver says whether a running daemon replaces old by next.
func takesOver(f reflect.StructField, old, next reflect.Value) bool {
	switch f.Tag.Get("reload") {
	case "yes":
		return true
	case "replace":
		return !old.IsZero() && !next.IsZero()
	}
	return false
}

// eachLeaf calls f for every key, in the order of the file. All policies together are one key, and so are all hooks.
func (c *Config) eachLeaf(f func(key string, field reflect.StructField, v reflect.Value)) {
	sections := reflect.ValueOf(c).Elem()
	for i := range sections.NumField() {
		section, tag := sections.Field(i), sections.Type().Field(i)
		if section.Kind() != reflect.Struct {
			f(tag.Tag.Get("toml"), tag, section)
			continue
		}
		for j := range section.NumField() {
			field := section.Type().Field(j)
			name := field.Tag.Get("toml")
			if name == "-" { // the content of a file
				name = strings.ToLower(field.Name)
			}
			f(tag.Tag.Get("toml")+"."+name, field, section.Field(j))
		}
	}
}

func (c Config) leaf(key string) (found reflect.Value) {
	c.eachLeaf(func(k string, _ reflect.StructField, v reflect.Value) {
		if k == key {
			found = v
		}
	})
	return found
}

// text replaces compiled expressions, which cannot be compared, by what was written.
func text(v reflect.Value) any {
	res, ok := v.Interface().([]*regexp.Regexp)
	if !ok {
		return v.Interface()
	}
	var out []string
	for _, re := range res {
		out = append(out, re.String())
	}
	return out
}
