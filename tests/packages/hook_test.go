package packages

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/tests/hosts"
)

// sandboxed are scripts that hooks run in the sandbox of the service, and what docs/hooks.md says of each: "" when it
// goes well, else a part of what it says when it doesn't.
var sandboxed = []struct{ name, script, says string }{
	{"curl", "curl -fsS http://localhost:3000/metrics | grep -q orchestrator_leader", ""},
	{"state", "id -un >/var/lib/orchestrator/told && grep -qx orchestrator /var/lib/orchestrator/told", ""},
	{"temporary", `f=$(mktemp) && echo x >"$f" && rm "$f"`, ""},
	{"syslog", "logger -t hook told", ""},
	// it comes as far as the network
	{"client", "mariadb --no-defaults -h 127.0.0.1 -P 3999 -u nobody -e 'SELECT 1' 2>&1 | grep -q '2002.*127.0.0.1'",
		""},
	{"processes", "ls -d /proc/1", "No such file"},
	{"python", "python3 -c 'import socket; print(socket.getaddrinfo(\"localhost\", 3000))'", ""},
	{"address", "ip address add 192.0.2.100/32 dev lo", "exit status 1"},
	{"arping", "arping -c 1 -A -I eth0 10.79.0.11", "setuid: Operation not permitted"},
	{"etc", "echo x >/etc/orchestrator/told", "Read-only file system"},
	{"home", "ls /root", "Permission denied"},
	{"account", "su -s /bin/sh -c true nobody", "su: "},
	{"service", "systemctl --no-ask-password restart dbus.service", "Access denied"},
	{"owner", "touch /var/lib/orchestrator/x && chown orchestrator /var/lib/orchestrator/x", "Operation not permitted"},
}

// wider is the drop-in of docs/hooks.md for what moves an address itself.
const wider = `[Service]
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW
PrivateUsers=no
RestrictAddressFamilies=AF_NETLINK AF_PACKET
SystemCallFilter=@setuid capset
`

// try runs a hook as a trial, and says how it went.
func (h *host) try(name string) string {
	h.t.Helper()
	out, err := h.Exec(h.t.Context(), "orchestrator-client", "hook", "try", name, "--yes")
	if (err == nil) != strings.Contains(out, "outcome  ok") {
		h.t.Errorf("the trial of %s: %v, and it says\n%s", name, err, out)
	}
	return out
}

func TestHooksInTheSandbox(t *testing.T) {
	full(t)
	n := hosts.Test(t)
	root, err := hosts.Root(t.Context(), "curl", "iputils-arping", "mariadb-client", "python3-minimal")
	if err != nil {
		t.Fatal(err)
	}
	booted, err := n.Boot(t.Context(), "hooks1", root)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{booted, t}
	h.do("dpkg", "-i", h.copy(pathOf(t, deb, newer)))
	h.do("mkdir", "-p", "/etc/orchestrator/hooks")
	var config strings.Builder
	for _, s := range sandboxed {
		h.write("/etc/orchestrator/hooks/"+s.name, "#!/bin/sh\n"+s.script+"\n", 0o755)
		fmt.Fprintf(&config, "[[hook]]\nname = %q\non = [\"promoted\"]\ncommand = [\"/etc/orchestrator/hooks/%s\"]\n",
			s.name, s.name)
	}
	h.configure(config.String())
	h.do("systemctl", "restart", unit)
	h.leads()
	for _, s := range sandboxed {
		switch out := h.try(s.name); {
		case s.says == "" && !strings.Contains(out, "outcome  ok"):
			t.Errorf("%s does not work:\n%s", s.script, out)
		case s.says != "" && !strings.Contains(out, s.says):
			t.Errorf("%s is to say %q:\n%s", s.script, s.says, out)
		}
	}

	// The drop-in that the page shows lets two of them move an address, and none of the others do more.
	page := h.do("sed", "s/^    //", "/usr/share/doc/orchestrator/docs/hooks.md")
	if !strings.Contains(page, wider) {
		t.Errorf("docs/hooks.md does not show the drop-in\n%s", wider)
	}
	h.write("/etc/systemd/system/orchestrator.service.d/hooks.conf", wider, 0o644)
	h.do("systemctl", "daemon-reload")
	h.do("systemctl", "restart", unit)
	h.leads()
	for _, s := range sandboxed {
		moves := s.name == "address" || s.name == "arping"
		if out := h.try(s.name); strings.Contains(out, "outcome  ok") != (s.says == "" || moves) {
			t.Errorf("with the drop-in, %s says\n%s", s.script, out)
		}
	}
	if out := h.do("ip", "-brief", "address", "show", "dev", "lo"); !strings.Contains(out, "192.0.2.100/32") {
		t.Errorf("the address was not added: %s", out)
	}
}
