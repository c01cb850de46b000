package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// unknown says what to write in place of a key that does not exist in a table.
func unknown(t reflect.Type, at, name string) string {
	here := keysOf(t)
	if table := tableOf(name); table != "" && !slices.Contains(here, name) {
		return fmt.Sprintf("unknown key; it belongs below [%s]", table)
	}
	if (name == "password" || name == "token") && slices.Contains(here, name+"_file") {
		return fmt.Sprintf("unknown key; secrets do not belong in this file: put it into a file of its own, "+
			"and set %s_file to the path", name)
	}
	if m := meant(name, here); m != "" {
		return "unknown key" + m
	}
	return "unknown key; the keys here are " + strings.Join(here, ", ")
}

// tableOf is the first table that has the key; "" if none has.
func tableOf(name string) string {
	whole := reflect.TypeFor[Config]()
	for i := range whole.NumField() {
		if s := whole.Field(i); s.Type.Kind() == reflect.Struct && slices.Contains(keysOf(s.Type), name) {
			return s.Tag.Get("toml")
		}
	}
	return ""
}

// meant suggests the word that is nearest to a wrong one, if one is near.
func meant(wrong string, words []string) string {
	if len(wrong) > 100 {
		return ""
	}
	plain := strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(wrong))
	best, distance := "", 1+max(1, len(wrong)/3)
	for _, w := range words {
		if d := edits(plain, w); d < distance {
			best, distance = w, d
		}
	}
	if best == "" && len(plain) > 2 {
		for _, w := range words { // part of the right word, or the right word and more
			if strings.Contains(w, plain) || strings.Contains(plain, w) {
				best = w
				break
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// edits counts the characters to insert, delete, replace or swap with their neighbour to turn a into b.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
