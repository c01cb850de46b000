package config

import (
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/tests/lab"
)

// issued writes a certificate and its key.
func issued(t *testing.T, by *lab.Authority, change func(*x509.Certificate), hosts ...string) (cert, key string) {
	t.Helper()
	c, k, err := by.Issue(change, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", c, 0o644), write(t, "key.pem", k, 0o600)
}

func authority(t *testing.T) (*lab.Authority, string) {
	t.Helper()
	a, err := lab.NewAuthority("authority")
	if err != nil {
		t.Fatal(err)
	}
	return a, write(t, "ca.pem", a.PEM, 0o644)
}

func TestCertificatesBetweenDaemons(t *testing.T) {
	ours, ca := authority(t)
	other, _ := authority(t)
	cert, key := issued(t, ours, nil, "o1")
	strange, strangeKey := issued(t, other, nil, "o1")
	nameless, namelessKey := issued(t, ours, nil)
	server, serverKey := issued(t, ours, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "o1")
	expired, expiredKey := issued(t, ours, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	}, "o1")
	open := write(t, "open.pem", "", 0o644)
	if text, err := os.ReadFile(key); err != nil || os.WriteFile(open, text, 0o644) != nil {
		t.Fatal(err)
	}
	half := write(t, "half.pem", ours.PEM+ours.PEM[:len(ours.PEM)/2], 0o644)
	secret := write(t, "secret", strings.Repeat("s", 32), 0o600)
	for name, c := range map[string]struct{ cert, key, ca, api, more, want string }{
		"right":          {cert, key, ca, cert, "", ""},
		"with a secret":  {cert, key, ca, cert, fmt.Sprintf("secret_file = %q", secret), ""},
		"an expired one": {expired, expiredKey, ca, cert, "", ""},
		"without a key":  {cert, "", ca, cert, "", "peers.cert: needs peers.key, the key of the certificate"},
		"without a certificate": {"", key, ca, cert, fmt.Sprintf("secret_file = %q", secret),
			"peers.key: needs peers.cert, the certificate of the key"},
		"without an authority": {cert, key, "", cert, "", "peers.cert: needs peers.ca, the authorities"},
		"without TLS":          {cert, key, ca, "", "", "peers.cert: needs http.tls_cert and http.tls_key"},
		"the key of another":   {cert, strangeKey, ca, cert, "", "are not a certificate and its key"},
		"of another authority": {strange, strangeKey, ca, cert, "",
			"the other daemons would refuse " + strange + ": it is not signed by"},
		"without a name":           {nameless, namelessKey, ca, cert, "", "it names no host"},
		"for one side":             {server, serverKey, ca, cert, "", "it lacks the extended key usage clientAuth"},
		"a key that everyone sees": {cert, open, ca, cert, "", "can be read by every account"},
		"half a bundle":            {cert, key, half, cert, "", "ends in the middle of a PEM block"},
		"no file":                  {cert + ".gone", key, ca, cert, "", "no such file"},
		"neither": {"", "", ca, cert, "",
			"peers.secret_file: is empty; the daemons need a shared secret"},
	} {
		text := fmt.Sprintf("[peers]\ndaemons = [\"https://o2:3000\"]\ncert = %q\nkey = %q\nca = %q\n%s\n",
			c.cert, c.key, c.ca, c.more)
		if c.api != "" {
			text += fmt.Sprintf("[http]\ntls_cert = %q\ntls_key = %q\n", cert, key)
		}
		got, problems := parse("o.toml", []byte(text))
		switch {
		case c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 ||
			!strings.Contains(problems.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, problems, c.want)
		case strings.Contains(problems.Error()+got.String(), "PRIVATE KEY"):
			t.Errorf("%s: the key is shown", name)
		case c.want == "":
			if pair, err := got.Peers.KeyPair(); err != nil || pair == nil || got.Peers.Pool() == nil {
				t.Errorf("%s: %v, %v", name, pair, err)
			}
		}
	}
	_, problems := parse("o.toml", fmt.Appendf(nil, "[peers]\ndaemons = [\"http://o2:3000\"]\n"+
		"cert = %q\nkey = %q\nca = %q\n[http]\ntls_cert = %q\ntls_key = %q", cert, key, ca, cert, key))
	if len(problems) != 1 || !strings.Contains(problems.Error(), "must begin with https://") {
		t.Errorf("without TLS: %v", problems)
	}
}

func TestCertificatesOfDaemonsAreTakenOverByAReload(t *testing.T) {
	ours, ca := authority(t)
	cert, key := issued(t, ours, nil, "o1")
	read := func() Config {
		return parsed(t, fmt.Sprintf("[peers]\ndaemons = [\"https://o2:3000\"]\ncert = %q\nkey = %q\nca = %q\n"+
			"[http]\ntls_cert = %q\ntls_key = %q", cert, key, ca, cert, key))
	}
	before := read()
	c, k, err := ours.Issue(nil, "o1")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{cert: c, key: k, ca: ours.PEM + ours.PEM} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	re, no := before.Changes(read())
	want := []string{"http.tls_cert", "http.tls_key", "peers.cert", "peers.key", "peers.ca"}
	if !slices.Equal(re, want) || len(no) > 0 {
		t.Errorf("taken over %v, waiting for a restart %v", re, no)
	}
	if next := before.Reloaded(read()); string(next.Peers.Certificate) != c || string(next.Peers.PrivateKey)+"\n" != k {
		t.Error("the certificate is not taken over")
	}
}

func TestCertificatesThatExpireAreRisks(t *testing.T) {
	ours, _ := authority(t)
	for ends, want := range map[time.Duration]string{-time.Minute: "that expired at 20",
		13 * 24 * time.Hour: "that expires at 20", 15 * 24 * time.Hour: ""} {
		cert, _ := issued(t, ours, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(ends) }, "o1")
		c := Default()
		c.Servers.TLS, c.Peers.Cert = "verify", cert
		got := strings.Join(c.Risks(), "\n")
		if !strings.Contains(got, want) || want == "" != (got == "") || want != "" && !strings.HasPrefix(got, cert) {
			t.Errorf("it ends in %v: %q, want %q", ends, got, want)
		}
	}
}
