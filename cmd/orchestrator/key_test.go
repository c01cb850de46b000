package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Two lines are enough to begin with MySQL without TLS: config key, and the name of its file. MariaDB needs none.
func TestTheKeyOfARealServer(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		s, err := l.Start(t.Context(), lab.Spec{Flavor: f})
		if err != nil {
			t.Fatal(err)
		}
		code, out, errs := program(t, "", "config", "key", s.Key.String())
		if f == topology.MariaDB {
			want := fmt.Sprintf("ask %v for its public key as %q: it sends no public key to this account", s.Key,
				lab.User)
			if code != exitFailure || !strings.Contains(errs, want) || out != "" {
				t.Errorf("code %d: %s%s", code, out, errs)
			}
			return
		}
		text, err := os.ReadFile(s.File("public_key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.TrimRight(text, "\x00") // which MySQL writes too
		block, _ := pem.Decode(text)
		sum := fmt.Sprintf("%x", sha256.Sum256(block.Bytes))
		if want := fmt.Sprintf("# %v, SHA-256 %s\n%s", s.Key, sum, text); code != exitOK || out != want ||
			!strings.Contains(errs, sum) {
			t.Errorf("code %d: %s\n%s\nwant %s", code, errs, out, want)
		}
		file := file(t, "o.toml", fmt.Sprintf("[servers]\npublic_key_file = %q\n", file(t, "keys.pem", out+out)))
		if code, _, errs := program(t, "", "config", "check", file); code != exitOK {
			t.Errorf("what it prints is not accepted: %s", errs)
		}
	})
}
