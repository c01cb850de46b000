package config

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"orchestrator/tests/lab"
)

func selfSigned(t *testing.T, endsIn time.Duration) string {
	t.Helper()
	cert, _ := lab.SelfSigned(t, time.Now().Add(endsIn))
	return cert
}

func pairOf(t *testing.T) (cert, key Secret) {
	t.Helper()
	c, k := lab.SelfSigned(t, time.Now().Add(time.Hour))
	return Secret(c), Secret(k)
}

func TestACertificateAndItsKey(t *testing.T) {
	cert, key := pairOf(t)
	above, foreign := pairOf(t)
	for _, c := range []struct {
		name      string
		cert, key Secret
		chain     int // 0: refused
	}{
		{"two files", cert, key, 1},
		{"a chain", cert + above, key, 2},
		{"one combined file", cert + key, cert + key, 1},
		{"the key first", key + cert, key + cert, 1},
		{"a foreign key in the file of the certificate", cert + foreign, key, 1},
		{"text between", "subject=a --- b\n" + cert + "-----\n" + above + "# the end", key, 2},
		{"no line end", cert[:len(cert)-1], key[:len(key)-1], 1},
		{"the key of another", cert, foreign, 0},
		{"no certificate", key, key, 0},
		{"half of a chain", cert + above[:len(above)/2], key, 0},
		{"a block that has no end before one that has", above[:len(above)/2] + "\n" + cert, key, 0},
		{"the beginning of the next line", cert + "-----BEG", key, 0},
		{"half of a key", cert, key[:len(key)/2], 0},
		{"half of something after the key", cert, key + above[:40], 0},
	} {
		pair, err := HTTPConfig{TLSCert: "cert.pem", TLSKey: "key.pem", Certificate: c.cert, Key: c.key}.KeyPair()
		switch {
		case (err == nil) != (c.chain > 0):
			t.Errorf("%s: %v", c.name, err)
		case err == nil && len(pair.Certificate) != c.chain:
			t.Errorf("%s: %d certificates are shown, want %d", c.name, len(pair.Certificate), c.chain)
		}
	}
}

func TestOfAWebAddressTheHostIsShown(t *testing.T) {
	for address, want := range map[WebAddress]string{"": "", "https://chat.example": "https://chat.example",
		"http://h:8080/":                 "http://h:8080/",
		"https://chat.example/T0/s3cret": "https://chat.example/***", "https://h?token=s3cret": "https://h/***",
		"https://h#s3cret":      "https://h/***",
		"https://ann:s3cret@h/": "https://h/***", "s3cret": "***", "https://h/%zz-s3cret": "***"} {
		if got := address.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	c := parsed(t, "[[hook]]\nname = \"chat\"\non = [\"opened\"]\nurl = \"https://chat.example/T0/s3cret\"")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("hooks", "all", c.Hooks, "url", c.Hooks[0].URL)
	shown := c.String() + log.String() + fmt.Sprintf("%+v %#v %x", c.Hooks, c.Hooks, c.Hooks[0].URL)
	if strings.Contains(shown, "s3cret") || strings.Contains(shown, fmt.Sprintf("%x", "s3cret")) ||
		!strings.Contains(c.String(), `url = "https://chat.example/***"`) {
		t.Errorf("this is shown:\n%s", shown)
	}
	if h := c.HookList(); h[0].URL != "https://chat.example/T0/s3cret" {
		t.Errorf("the hook posts to %s", h[0].URL)
	}
}
