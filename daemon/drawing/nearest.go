package drawing

import (
	"maps"
	"slices"
)

// nearest is the word among these that takes the fewest changes of letters; among equals the first.
func nearest[V any](word string, words map[string]V) string {
	best, least := "", 1<<30
	for _, w := range slices.Sorted(maps.Keys(words)) {
		if n := Distance(word, w); n < least {
			best, least = w, n
		}
	}
	return best
}

// Distance counts the insertions, removals and replacements that turn a into b: how far a name is from the one that was
// meant.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
