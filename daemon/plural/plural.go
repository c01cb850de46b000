// Package plural writes counts in messages: "1 record", "2 records".
//
// It knows English nouns and verbs, and nothing of what is counted. The one idea: no message says "1 records", so
// nobody formats a count and a noun apart from each other.
package plural

import (
	"fmt"
	"strings"
)

// Integer is what can be counted.
type Integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64
}

// Count returns n with a regular noun that is given in the singular: Count(2, "record") is "2 records".
func Count[N Integer](n N, noun string) string {
	return fmt.Sprintf("%d %s", n, Of(n, noun, noun+"s"))
}

// Of returns the word that suits n: Of(n, "is", "are").
func Of[N Integer](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// And joins several words: "db2", "db2 and db3", "db2, db3 and db4".
func And(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
