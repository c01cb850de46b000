package topology

import (
	"strings"
	"testing"
)

// What is read as an address, a pattern or a version reads the same when it is printed.
func FuzzKey(f *testing.F) {
	for _, text := range []string{"db1", "db1:3306", "[::1]:3306", "fe80::1%eth0", "DB1.example.com.",
		"[::ffff:1.2.3.4]:1",
		"::", "a b", "\x00", "db1:0", "db1..", "db*.example.com", "10.0.0.0/8", "5.5.5-11.4.2-MariaDB", "8.0.36-28"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKey(text); err == nil {
			if again, err := ParseKey(k.String()); err != nil || again != k {
				t.Errorf("%q is %v, which is %v, %v", text, k, again, err)
			}
			if strings.ContainsAny(k.String(), " \n\r\x00/") {
				t.Errorf("%q is %q", text, k.String())
			}
		}
		if p, err := ParsePattern(text); err == nil {
			if again, err := ParsePattern(p.String()); err != nil || again.String() != p.String() {
				t.Errorf("%q is %v, which is %v, %v", text, p, again, err)
			}
		}
		if _, v, err := ParseVersion(text); err == nil {
			_ = v.String()
			_ = v.AtLeast(8, 0, 22)
		}
	})
}
