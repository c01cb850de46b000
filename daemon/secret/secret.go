// Package secret reads files with secrets that can be changed without an interruption: each line is a valid secret,
// and the first one is in use. It knows nothing about what a secret protects.
//
// The one idea: a sender uses the first line, and a receiver accepts any line. So the new secret first becomes the
// second line everywhere, then the first, then the only one. At no time is a sender refused that has one of the two.
package secret

import (
	"fmt"
	"os"
	"strings"
)

// Lines are the secrets of a text, without the blanks around them; none for a text of blank lines.
func Lines(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// First reads the secret that is to be used from a file.
func First(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	lines := Lines(string(data))
	if len(lines) == 0 {
		return "", fmt.Errorf("file %s is empty, or has blank lines only", file)
	}
	return lines[0], nil
}

// Own is First of a file that other accounts of this host can't read or change: such a secret is none. What is no file,
// such as a pipe, has no other readers.
func Own(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o007 != 0 {
		return "", fmt.Errorf("file %s is open to every account of this host (mode %04o): chmod o= %s, and replace "+
			"the secret if others may have read it", file, mode.Perm(), file)
	}
	return First(file)
}
