package declared

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"orchestrator/daemon/topology"
)

func checkServer(k topology.Key) error {
	if back, err := topology.ParseKey(k.String()); err != nil || back != k {
		return invalid("%.300q is no server: want host:port", k.String())
	}
	return nil
}

// checkText wants one line, or several, that every log and page can show.
func checkText(what, text string, most int, required bool) error {
	switch {
	case required && strings.TrimSpace(text) == "":
		return invalid("the %s is missing", what)
	case len(text) > most:
		return invalid("the %s has %d bytes, and at most %d are kept", what, len(text), most)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return invalid("the %s has control characters or is not UTF-8", what)
	}
	return nil
}

// checkName wants what can stand in a path, a shell and a label without quotes.
func checkName(what, name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r))
	}
	if name == "" || len(name) > 64 || name[0] == '.' || name[0] == '-' || strings.ContainsFunc(name, bad) {
		return invalid("%s %.80q: want 1 to 64 letters, digits, '_', '.' or '-', of which the last two are not the first", what, name)
	}
	return nil
}
