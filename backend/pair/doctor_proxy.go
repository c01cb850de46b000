package pair

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/plural"
)

// proxy checks how HAProxy serves the members.
func (d *doctor) proxy() {
	if !d.Proxied {
		return
	}
	if d.ProxyErr != "" {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy can't be asked: " + d.ProxyErr,
			Do: "check that it runs, and that haproxy.socket is its stats socket, with level admin"})
		return
	}
	var up []string
	for _, s := range d.Proxy {
		if s.Up {
			up = append(up, s.Key.String())
		}
		if s.Up && !slices.ContainsFunc(d.Members, func(e Exam) bool { return e.Key == s.Key }) {
			d.say(Complaint{Code: "haproxy", Says: fmt.Sprintf("HAProxy serves %v (%s), which is not a member", s.Key,
				s.Name), Do: "use the same members in backend.members and in HAProxy"})
		}
	}
	for _, e := range d.Members {
		i := slices.IndexFunc(d.Proxy, func(s ProxyServer) bool { return s.Key == e.Key })
		switch {
		case i < 0:
			d.say(Complaint{At: e.Key, Code: "haproxy", Says: "HAProxy does not know it",
				Do: "write the section with: orchestrator haproxy config"})
		case !d.Proxy[i].Up && d.Proxy[i].Sessions > 0:
			d.say(Complaint{At: e.Key, Code: "haproxy",
				Says: fmt.Sprintf("HAProxy does not serve it, but it still has %s", plural.Count(d.Proxy[i].Sessions,
					"session")), Do: "add on-marked-down shutdown-sessions to its server line"})
		}
	}
	if len(up) > 1 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves " + strings.Join(up, " and ") +
			" at once: a member that comes back is served before it has caught up",
			Do: "let agent checks decide (haproxy.agent); see: orchestrator haproxy check"})
	}
	if len(up) == 0 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves no member",
			Do: "check which member is fit (orchestrator backend status), and that a daemon answers agent checks " +
				"(haproxy.agent)"})
	}
}
