// Package layout holds the tests that keep the repository in the shape that docs and heads rely on: who may import
// whom, what the pure packages may not touch, what stands at the top, which words are used.
//
// It tests no behaviour. The one idea: what is written down as a rule is read from the source, by the go tool's own
// eyes, and fails like any other test.
package layout
