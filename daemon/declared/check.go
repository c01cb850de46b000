package declared

import (
	"strings"

	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

func checkServer(k topology.Key) error {
	if back, err := topology.ParseKey(k.String()); err != nil || back != k {
		return invalid("%.300q is not a server: it must be host:port", k.String())
	}
	return nil
}

// checkText checks that a text, of one line or several, can be shown in every log and page.
func checkText(what, text string, most int, required bool) error {
	switch {
	case required && strings.TrimSpace(text) == "":
		return invalid("the %s is missing", what)
	case len(text) > most:
		return invalid("the %s has %d bytes, and at most %d are kept", what, len(text), most)
	case !printable.Is(text):
		return invalid("the %s has control characters or is not UTF-8", what)
	}
	return nil
}

// checkName checks that a name can be used in a path, a shell and a label without quotes.
func checkName(what, name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r))
	}
	if name == "" || len(name) > 64 || name[0] == '.' || name[0] == '-' || strings.ContainsFunc(name, bad) {
		return invalid("%s %.80q: it must be 1 to 64 letters, digits, '_', '.' or '-', and begin with none of the "+
			"last two",
			what, name)
	}
	return nil
}
