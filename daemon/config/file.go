package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxConfig bounds a configuration file; no real one comes near it.
const maxConfig = 1 << 20

func readConfig(file string) ([]byte, error) {
	data, err := readRegular(file, maxConfig)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read configuration: %w; begin with the defaults: orchestrator config defaults > %s", err, file)
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// readRegular reads a file whole. Anything but a regular file is refused before it is opened: a pipe would wait for a writer forever.
func readRegular(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that such a file may have", file, info.Size(), limit)
	}
	return os.ReadFile(file)
}

// credentials is what a path may begin with that leads to what the service manager hands over; no other variable is looked at.
const credentials = "$CREDENTIALS_DIRECTORY"

// path makes a path absolute, and leads one that begins with credentials to where they are.
func (r *reader) path(key string, p *string) {
	if strings.ContainsRune(*p, 0) {
		r.add(key, "is no path: it holds a zero byte")
		*p = ""
		return
	}
	if name, ok := strings.CutPrefix(*p, credentials+"/"); ok {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			r.add(key, "%s is not set: the service manager sets it for the service that has LoadCredential=; for a command, name the running service's: "+
				"CREDENTIALS_DIRECTORY=/run/credentials/orchestrator.service", credentials)
			*p = ""
			return
		}
		*p = filepath.Join(dir, name)
	}
	*p = beside(r.file, *p)
}

// beside makes a path absolute: one that is not counts from the directory of the configuration file, so that it means the same wherever
// the daemon or "config check" is started.
func beside(file, p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return p
	}
	return filepath.Join(dir, p)
}
