package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFile has any bytes in the place of each file that the configuration names: secrets, those of hooks, certificates,
// keys. None ends the program, and what is wrong is said without their content.
func FuzzFile(f *testing.F) {
	for _, text := range []string{"", "\n", "0123456789abcdef", "\ufeffhttps://h/x",
		"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----",
		"https://h:70000/", "\xff\x00"} {
		f.Add([]byte(text))
	}
	file := filepath.Join(f.TempDir(), "file")
	config := strings.ReplaceAll(`[http]
token_file = "FILE"
tls_cert = "FILE"
tls_key = "FILE"
[servers]
password_file = "FILE"
public_key_file = "FILE"
tls = "FILE"
[peers]
daemons = ["https://o2:3000"]
secret_file = "FILE"
cert = "FILE"
key = "FILE"
ca = "FILE"
[[hook]]
name = "chat"
on = ["opened"]
url_file = "FILE"
token_file = "FILE"
`, "FILE", file)
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, problems := parse("o.toml", []byte(config))
		c.Risks()
		said := problems.Error() + c.String() + fmt.Sprintf("%v %+v", c, c.Peers.Certificate)
		if secret := strings.TrimSpace(string(content)); len(secret) >= 16 && !strings.Contains(config, secret) &&
			strings.Contains(said, secret) {
			t.Errorf("it shows %q in\n%s", secret, said)
		}
	})
}
