package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxConfig bounds a configuration file, in bytes. No real one comes near it.
const maxConfig = 1 << 20

func readConfig(file string) ([]byte, error) {
	data, err := readRegular(file, maxConfig)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read configuration: %w; to start with the defaults: orchestrator config defaults > %s",
			err, file)
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// readRegular reads a whole file. It refuses anything but a regular file before opening it: a pipe would wait for a
// writer for ever.
func readRegular(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are allowed", file, info.Size(), limit)
	}
	return os.ReadFile(file)
}

// credentials is the one variable that a path may begin with: the directory in which the service manager puts
// credentials.
const credentials = "$CREDENTIALS_DIRECTORY"

// path makes a path absolute, and replaces credentials at its beginning.
func (r *reader) path(key string, p *string) {
	if strings.ContainsRune(*p, 0) {
		r.add(key, "is not a path: it contains a zero byte")
		*p = ""
		return
	}
	if name, ok := strings.CutPrefix(*p, credentials+"/"); ok {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			r.add(key,
				"%s is not set. The service manager sets it for a service with LoadCredential=. "+
					"For a command, use that of the running service: "+
					"CREDENTIALS_DIRECTORY=/run/credentials/orchestrator.service", credentials)
			*p = ""
			return
		}
		*p = filepath.Join(dir, name)
	}
	*p = beside(r.file, *p)
}

// beside makes a path absolute. A relative one starts in the directory of the configuration file, so that it means the
// same wherever the daemon or "config check" is started.
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
