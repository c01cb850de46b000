package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// unknown says what to write instead of a key that doesn't exist in a table.
func unknown(t reflect.Type, at, name string) string {
	here := keysOf(t)
	if at == "" {
		for _, section := range here { // a key that stands above the first [table]
			if f, _ := fieldOf(t, section); f.Type.Kind() == reflect.Struct && slices.Contains(keysOf(f.Type), name) {
				return fmt.Sprintf("unknown key; it belongs below [%s]", section)
			}
		}
	} else {
		whole := reflect.TypeFor[Config]()
		for i := range whole.NumField() {
			if s := whole.Field(i); !slices.Contains(here, name) && s.Type.Kind() == reflect.Struct && slices.Contains(keysOf(s.Type), name) {
				return fmt.Sprintf("unknown key; it belongs below [%s]", s.Tag.Get("toml"))
			}
		}
	}
	if name == "password" || name == "token" {
		if slices.Contains(here, name+"_file") {
			return fmt.Sprintf("unknown key; secrets are not written in here: put it into a file of its own, and the path of that into %s_file", name)
		}
	}
	if m := meant(name, here); m != "" {
		return "unknown key" + m
	}
	return "unknown key; possible are " + strings.Join(here, ", ")
}

// meant asks whether the nearest of the words was meant, if one is near.
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
		for _, w := range words { // a piece of the right word, or the right word with something added
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

// edits counts the letters to insert, delete, replace or swap with their neighbour to make b of a.
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
