// Package printable keeps what servers and people wrote from acting on the terminal that shows it.
//
// It changes nothing that is stored or sent to programs. The one idea: there is one writer around the output of a
// program, so that no message has to think of it.
package printable

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Writer returns a writer that spells out characters that would move the cursor, change colours or reorder a line:
// controls other than line breaks and tabs, and marks of text direction. They are spelled as JSON spells them, so JSON
// keeps its meaning.
func Writer(w io.Writer) io.Writer { return &writer{to: w} }

type writer struct {
	mu   sync.Mutex
	to   io.Writer
	rest []byte // the beginning of a character whose end is still to be written
}

// Write writes all of p, apart from the beginning of a character at its end.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(w.rest, p...)
	end := len(all)
	for i := 1; i < utf8.UTFMax && i <= len(all); i++ {
		if utf8.RuneStart(all[len(all)-i]) {
			if !utf8.FullRune(all[len(all)-i:]) {
				end = len(all) - i
			}
			break
		}
	}
	w.rest = append([]byte(nil), all[end:]...)
	if _, err := io.WriteString(w.to, Text(string(all[:end]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Is says that a text has nothing that Writer would spell out, and is UTF-8.
func Is(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, acts) }

// Clip keeps what others have written from filling an answer, a log or a line.
func Clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Text is s as Writer writes it. What is not UTF-8 becomes the replacement character.
func Text(s string) string {
	if Is(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if acts(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func acts(r rune) bool {
	switch r {
	case '\n', '\t':
		return false
	case '\u2028', '\u2029': // line and paragraph separators
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
