package topology

import (
	"net/netip"
	"testing"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"10.0.0.0/8", "10.1.2.3:3306", true},
		{"10.0.0.0/8", "11.1.2.3:3306", false},
		{"10.0.0.0/8", "db1:3306", false},
		{"10.1.2.3", "10.1.2.3:3307", true},
		{"fd00::/8", "[fd00::1]:3306", true},
		{"db*.example.com", "db12.example.com:3306", true},
		{"DB?.example.com", "db12.example.com:3306", false},
		{"db1", "db1:3306", true},
		{"db1:3307", "db1:3306", false},
		{"db1:3307", "db1:3307", true},
		{"*", "anything:1", true},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ParseKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Named(k); got != c.want {
			t.Errorf("%s admits %s: %v", c.pattern, c.key, got)
		}
		text, _ := p.MarshalText()
		var again Pattern
		if err := again.UnmarshalText(text); err != nil || again != p || again.String() != c.pattern {
			t.Errorf("%s: read again %v, %v", c.pattern, again, err)
		}
	}
	for _, bad := range []string{"", "db 1", "db1:x", "db1:99999", "[db]", "a/b", "10.0.0.0/99", ":3306"} {
		if p, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}
}

func TestSpecialAddresses(t *testing.T) {
	for text, special := range map[string]bool{"10.0.0.1": false, "127.0.0.1": false, "::1": false, "0.0.0.0": true,
		"::": true, "224.0.0.1": true, "255.255.255.255": true, "ff02::1": true, "169.254.169.254": true,
		"fe80::1%eth0": true, "::ffff:169.254.169.254": true, "fd00:ec2::254": true, "100.100.100.200": true,
		"192.168.1.1": false, "fd00::1": false} {
		if got := Special(netip.MustParseAddr(text)); (got != "") != special {
			t.Errorf("%s: %q", text, got)
		}
	}
	if !Loopback(netip.MustParseAddr("::ffff:127.0.0.1")) || Loopback(netip.MustParseAddr("10.0.0.1")) {
		t.Error("loopback")
	}
}
