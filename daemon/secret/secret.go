// Package secret knows how a secret is written down that can be changed without a gap: a line each of those that are valid, the one in use first.
// It is no place for what a secret opens.
//
// The one idea: who uses one takes the first line, who is asked to believe one takes any. So the new one is made known as the second line
// everywhere, then it becomes the first, then it stands alone, and at no moment is somebody refused who has the one or the other.
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
