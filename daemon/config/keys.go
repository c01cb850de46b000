package config

import (
	"fmt"
	"os"

	"orchestrator/daemon/server"
)

// publicKeys checks the file of those, if there is one, and returns its text.
func (r *reader) publicKeys(key, file string) string {
	if file == "" || r.bad[key] {
		return ""
	}
	text, err := readRegular(file, maxConfig)
	if err == nil {
		if _, err = server.ParseKeys(text); err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}
	if err != nil {
		r.add(key, "%v; orchestrator config key SERVER prints a key", err)
		return ""
	}
	if info, err := os.Stat(file); err == nil { // who can write it decides who gets the password
		if r.foreign(key, file, info); info.Mode().Perm()&0o002 != 0 {
			r.add(key, "%s can be written by every account (mode %04o): chmod o-w %s", file, info.Mode().Perm(), file)
		}
	}
	if r.bad[key] {
		return ""
	}
	return string(text)
}

func keys(text string) server.Keys {
	k, err := server.ParseKeys([]byte(text))
	if err != nil { // publicKeys has checked it; none is given
		return nil
	}
	return k
}
