package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/tests/lab"
)

func TestHAProxy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("secret", "0123456789abcdef0123456789abcdef\n")
	config := write("shared.toml", `[http]
listen = "127.0.0.1:3000"
[backend]
kind = "mysql"
address = "127.0.0.1:3307"
members = ["db1", "db2"]
[peers]
daemons = ["http://two:3000", "https://three"]
secret_file = "secret"
[haproxy]
agent = "127.0.0.1:3001"
`)
	alone := write("alone.toml", "")

	for _, version := range []string{"2.6", "3.1"} {
		code, out, errs := program(t, "", "haproxy", "config", "--config", config, "--version", version)
		for _, want := range []string{"server db1:3306 db1:3306", "server 127.0.0.1:3000 127.0.0.1:3000\n",
			"server two:3000 two:3000\n", "server three:443 three:443 ssl verify required"} {
			if code != exitOK || !strings.Contains(out, want) {
				t.Errorf("%s: code %d: %s\n%s without %q", version, code, errs, out, want)
			}
		}
		ours := write("ours.cfg", out)
		if code, out, errs := program(t, "", "haproxy", "check", "--config", config, ours); code != exitOK ||
			out != "" {
			t.Errorf("code %d: %s%s", code, out, errs)
		}
	}

	// Nobody but HAProxy itself names a user there.
	proxied := write("proxied.toml", strings.Replace(readAll(t, config), "listen = \"127.0.0.1:3000\"",
		"listen = \"127.0.0.1:3000\"\nidentity_header = \"X-Remote-User\"\nidentity_from = [\"10.0.0.1\"]", 1)+
		"[[user]]\nname = \"ann\"\nrole = \"admin\"\n")
	code, out, errs := program(t, "", "haproxy", "config", "--config", proxied)
	if code != exitOK || !strings.Contains(out, "    http-request del-header X-Remote-User\n    default_backend") {
		t.Errorf("code %d: %s\n%s", code, errs, out)
	}
	passes := write("passes.cfg", strings.Replace(out, "http-request del-header", "#", 1))
	if code, out, _ := program(t, "", "haproxy", "check", "--config", proxied, passes); code != exitConfig ||
		!strings.Contains(out, "the header X-Remote-User (http.identity_header) is passed on") {
		t.Errorf("code %d: %s", code, out)
	}

	// HAProxy verifies a name of the daemon's own certificate.
	tlsConfig := strings.Replace(readAll(t, config), "listen = \"127.0.0.1:3000\"",
		"listen = \"127.0.0.1:3000\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"", 1)
	tlsConfig += "http_cert = \"both.pem\"\n"
	cert, key := lab.SelfSigned(t, time.Now().Add(time.Hour), "*.example.com")
	write("cert.pem", cert)
	write("key.pem", key)
	secure := write("secure.toml", tlsConfig)
	code, out, errs = program(t, "", "haproxy", "config", "--config", secure)
	for _, want := range []string{"server 127.0.0.1:3000 127.0.0.1:3000 check ssl verify required ca-file @system-ca " +
		"verifyhost any.example.com\n",
		"verifyhost three\n", "bind 127.0.0.1:3080 ssl crt " + filepath.Join(dir, "both.pem") + "\n"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("code %d: %s\n%s without %q", code, errs, out, want)
		}
	}
	if code, out, errs := program(t, "", "haproxy", "check", "--config", secure,
		write("secure.cfg", out)); code != exitOK || out != "" {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	addressed := write("addressed.toml", strings.Replace(readAll(t, config), "https://three", "https://10.0.0.3", 1))
	if code, _, errs := program(t, "", "haproxy", "config", "--config", addressed); code != exitConfig ||
		!strings.Contains(errs, `"10.0.0.3" is not one; name the daemon by its host name`) {
		t.Errorf("code %d: %s", code, errs)
	}
	cert, key = lab.SelfSigned(t, time.Now().Add(time.Hour), "127.0.0.1")
	write("cert.pem", cert)
	write("key.pem", key)
	if code, _, errs := program(t, "", "haproxy", "config", "--config", secure); code != exitConfig ||
		!strings.Contains(errs, "cert.pem has no host name") {
		t.Errorf("code %d: %s", code, errs)
	}

	write("agent.lua", "applet:send('down#lags')\n")
	theirs := write("theirs.cfg", "global\n  lua-load "+filepath.Join(dir, "agent.lua")+
		"\nlisten db\n  bind :3307\n  server db1 db1:3306 check maxconn 9\n")
	code, out, errs = program(t, "", "haproxy", "check", theirs)
	if code != exitConfig || !strings.Contains(out, theirs+":5: maxconn at a server\n    then: ") ||
		!strings.Contains(out, "agent.lua:1: \"down#\" has no space") ||
		!strings.Contains(errs, " complaints") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}

	for args, want := range map[string]struct {
		code int
		says string
	}{
		"haproxy":        {exitUsage, "haproxy needs a command: config or check"},
		"haproxy check":  {exitUsage, "needs one argument, the configuration of HAProxy"},
		"haproxy config": {exitConfig, "there is no configuration at"},
		"haproxy config --version 1.8 --config " + config: {exitUsage, `--version "1.8" is not valid`},
		"haproxy config --config " + alone:                {exitConfig, "backend.members: is empty"},
		"haproxy check /no/such.cfg": {exitConfig,
			"read HAProxy's configuration: stat /no/such.cfg"},
		"haproxy check " + dir: {exitConfig, "is not a regular file"},
	} {
		if code, _, errs := program(t, "", strings.Fields(args)...); code != want.code ||
			!strings.Contains(errs, want.says) {
			t.Errorf("%s: code %d: %s", args, code, errs)
		}
	}
}

func readAll(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
