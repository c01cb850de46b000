package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A cut drops packets by iptables, so that nobody hears of it: no reset, no refusal. Three rules make one server's cut whole. What comes to its
// address and what goes out from it is dropped where it arrives. Its own new connections are known by its group id. And for connections
// that it opened before (to its source), the ports are looked up, because on loopback they bear the address 127.0.0.1.

// Cut takes servers off the network; they can still be asked through DB.
func (l *Lab) Cut(servers ...*Server) error {
	for _, s := range servers {
		rules, err := s.isolate("127.0.0.0/8")
		if err != nil {
			return fmt.Errorf("cut %s off: %w", s.what, err)
		}
		rules = append(rules, []string{"-d", s.Key.Host}, []string{"-s", s.Key.Host})
		if err := l.drop(rules...); err != nil {
			return fmt.Errorf("cut %s off: %w", s.what, err)
		}
	}
	return nil
}

// CutDaemon keeps a daemon from reaching these servers, or with none of them any server; who asks its API is still answered.
func (l *Lab) CutDaemon(d *Daemon, from ...*Server) error {
	to := []string{"127.0.0.0/8"}
	if len(from) > 0 {
		to = nil
		for _, s := range from {
			to = append(to, s.Key.Host)
		}
	}
	var all [][]string
	for _, host := range to {
		rules, err := d.isolate(host)
		if err != nil {
			return fmt.Errorf("cut %s off: %w", d.what, err)
		}
		all = append(all, rules...)
	}
	// Before the others: what it answers at its own address goes out.
	return l.drop(append([][]string{{"-s", d.host, "-p", "tcp", "--sport", strconv.Itoa(d.port), "-j", "RETURN"}}, all...)...)
}

// Sides cuts a network in two: no process of one side reaches one of the other, by what either opens. What belongs to no side is reached
// by both. Each server, daemon and HAProxy goes by its own address.
func (l *Lab) Sides(a, b Side) error {
	var all [][]string
	for _, from := range []struct{ these, those Side }{{a, b}, {b, a}} {
		for _, p := range from.these.processes() {
			for _, host := range from.those.hosts() {
				rules, err := p.isolate(host)
				if err != nil {
					return fmt.Errorf("cut %s off from %s: %w", p.what, host, err)
				}
				all = append(all, rules...)
			}
		}
	}
	return l.drop(all...)
}

// Side of a network that is cut in two.
type Side struct {
	Servers []*Server
	Daemons []*Daemon
	Proxies []*HAProxy
}

func (s Side) processes() []*process {
	var out []*process
	for _, v := range s.Servers {
		out = append(out, &v.process)
	}
	for _, v := range s.Daemons {
		out = append(out, &v.process)
	}
	for _, v := range s.Proxies {
		out = append(out, &v.process)
	}
	return out
}

func (s Side) hosts() []string {
	var out []string
	for _, v := range s.Servers {
		out = append(out, v.Key.Host)
	}
	for _, v := range s.Daemons {
		out = append(out, v.host)
	}
	for _, v := range s.Proxies {
		out = append(out, v.Host)
	}
	return out
}

// isolate are the rules that keep a process from reaching, and hearing, those that it connected to, as far as they are in the network to.
func (p *process) isolate(to string) ([][]string, error) {
	if p.Pid() == 0 {
		return nil, nil
	}
	rules := [][]string{{"-m", "owner", "--gid-owner", fmt.Sprint(p.group()), "-d", to}}
	ports, err := connectedPorts(p.Pid())
	for _, port := range ports {
		rules = append(rules, []string{"-p", "tcp", "-s", to, "--dport", strconv.Itoa(port)})
	}
	return rules, err
}

// connectedPorts are the local ports of the connections that a process has opened.
func connectedPorts(pid int) ([]int, error) {
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, "socket:[") {
			inodes[strings.TrimSuffix(strings.TrimPrefix(name, "socket:["), "]")] = true
		}
	}
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var ports []int
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		f := strings.Fields(lines.Text())
		const established = "01"
		if len(f) < 10 || f[3] != established || !inodes[f[9]] {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseInt(hex, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("read /proc/net/tcp: %w", err)
		}
		if !slices.Contains(ports, int(port)) && port >= 10000 { // not those that it serves
			ports = append(ports, int(port))
		}
	}
	return ports, nil
}

// Heal ends all cuts.
func (l *Lab) Heal() error {
	dropChain(l.chainName())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chain = false
	return nil
}

// chainName is this lab's own chain, so that it can be cleared without a trace of others.
func (l *Lab) chainName() string { return fmt.Sprintf("lab-%d", l.Subnet) }

// drop adds rules, all at one moment.
func (l *Lab) drop(rules ...[]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	chain := l.chainName()
	var text strings.Builder
	text.WriteString("*filter\n")
	if !l.chain {
		// From OUTPUT and not INPUT, where the owner of a packet isn't known any more.
		fmt.Fprintf(&text, ":%s - [0:0]\n-I OUTPUT -j %s\n", chain, chain)
	}
	for _, rule := range rules {
		if !slices.Contains(rule, "-j") {
			rule = append(rule, "-j", "DROP")
		}
		fmt.Fprintf(&text, "-A %s %s\n", chain, strings.Join(rule, " "))
	}
	text.WriteString("COMMIT\n")
	restore := exec.Command("iptables-restore", "--noflush", "--wait", "5")
	restore.Stdin = strings.NewReader(text.String())
	if out, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, tail(string(out)))
	}
	l.chain = true
	return nil
}

// dropChain removes a chain and what leads to it. It may not be there, so errors mean nothing.
func dropChain(chain string) {
	for _, args := range [][]string{{"-D", "OUTPUT", "-j", chain}, {"-F", chain}, {"-X", chain}} {
		exec.Command("iptables", append([]string{"--wait", "5"}, args...)...).Run()
	}
}
