package lab

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A cut drops packets by iptables, so that nobody hears of it: no reset, no refusal. Three rules make one server's cut
// whole. What comes to its address and what goes out from it is dropped where it arrives. Its own new connections are
// known by its group id. And for connections that it opened before (to its source), the ports are looked up, because on
// loopback they bear the address 127.0.0.1.

// everywhere is the network of all that a lab starts.
const everywhere = "127.0.0.0/8"

// Cut takes servers off the network; they can still be asked through DB.
func (l *Lab) Cut(servers ...*Server) error {
	var all []rules
	var hosts [][]string
	for _, s := range servers {
		all = append(all, s.isolate(everywhere))
		hosts = append(hosts, []string{"-d", s.Key.Host}, []string{"-s", s.Key.Host})
	}
	return errors.Join(l.sever(all...), l.drop(hosts...))
}

// CutDaemon keeps a daemon from reaching these servers, or with none of them any server; who asks its API is still
// answered.
func (l *Lab) CutDaemon(d *Daemon, from ...*Server) error {
	var all []rules
	for _, s := range from {
		all = append(all, d.isolate(s.Key.Host))
	}
	if len(from) == 0 {
		all = append(all, d.isolate(everywhere))
	}
	// Before the others: what it answers at its own address goes out.
	if err := l.drop([]string{"-s", d.host, "-p", "tcp", "--sport", strconv.Itoa(d.port), "-j", "RETURN"}); err != nil {
		return err
	}
	return l.sever(all...)
}

// Sides cuts a network in two: no process of one side reaches one of the other, by what either opens. What belongs to
// no side is reached by both, so that two processes are one edge. Each server, daemon and HAProxy goes by its own
// address.
func (l *Lab) Sides(a, b Side) error {
	return l.sever(append(a.from(b, (*process).isolate), b.from(a, (*process).isolate)...)...)
}

// Mute keeps what one side sends from the other, and lets through what comes back: a question arrives, and its answer
// doesn't.
func (l *Lab) Mute(from, to Side) error {
	return l.sever(append(from.from(to, (*process).silence), to.from(from, (*process).deafen)...)...)
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

// from are the rules that keep each process of a side from the hosts of another, in one of the ways below.
func (s Side) from(other Side, way func(*process, string) rules) (out []rules) {
	for _, p := range s.processes() {
		for _, host := range other.hosts() {
			out = append(out, way(p, host))
		}
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

// rules keep a process from something of others: what it opens from now on, and the connections that it has opened,
// each by its port.
type rules struct {
	process *process
	to      string // address or network of the others
	opens   []string
	port    func(port string) [][]string
}

func (p *process) owns() []string {
	return []string{"-m", "owner", "--gid-owner", fmt.Sprint(p.group())}
}

// isolate keeps a process from reaching, and hearing, those that it connects to, as far as they are in the network to.
// What a process has left to the kernel when it closed a connection has no owner any more, and goes by its port.
func (p *process) isolate(to string) rules {
	return rules{p, to, append(p.owns(), "-d", to), func(port string) [][]string {
		return [][]string{{"-p", "tcp", "-d", to, "--sport", port}, {"-p", "tcp", "-s", to, "--dport", port}}
	}}
}

// silence keeps a process from reaching those that it connects to.
func (p *process) silence(to string) rules {
	return rules{p, to, append(p.owns(), "-d", to), func(port string) [][]string {
		return [][]string{{"-p", "tcp", "-d", to, "--sport", port}}
	}}
}

// deafen keeps a process from hearing those that it connects to. That the answer to its first packet is lost looks to
// it as if that packet were.
func (p *process) deafen(to string) rules {
	return rules{p, to, append(p.owns(), "-d", to, "-p", "tcp", "--syn"), func(port string) [][]string {
		return [][]string{{"-p", "tcp", "-s", to, "--dport", port}}
	}}
}

// sever lets the processes open nothing first, and then cuts what they have opened: no connection slips through
// between.
func (l *Lab) sever(all ...rules) error {
	var opens, opened [][]string
	for _, r := range all {
		if r.process.Pid() != 0 {
			opens = append(opens, r.opens)
		}
	}
	if err := l.drop(opens...); err != nil {
		return fmt.Errorf("cut: %w", err)
	}
	known := map[*process][]connection{}
	for _, r := range all {
		pid := r.process.Pid()
		if pid == 0 {
			continue
		}
		if known[r.process] == nil {
			var err error
			if known[r.process], err = connections(pid); err != nil {
				return fmt.Errorf("cut %s off: %w", r.process.what, err)
			}
		}
		for _, c := range known[r.process] {
			if c.to.String() == r.to || r.to == everywhere {
				opened = append(opened, r.port(strconv.Itoa(c.port))...)
			}
		}
	}
	return l.drop(opened...)
}

// connection is one that a process has opened, or answers.
type connection struct {
	port int // on its side
	to   netip.Addr
}

// connections are the established ones of a process, without those at ports that it serves.
func connections(pid int) ([]connection, error) {
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
	var out []connection
	for lines := bufio.NewScanner(file); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		f := strings.Fields(lines.Text())
		const established = "01"
		if len(f) < 10 || f[3] != established || !inodes[f[9]] {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("read /proc/net/tcp: %w", err)
		}
		hex, _, _ = strings.Cut(f[2], ":")
		host, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("read /proc/net/tcp: %w", err)
		}
		if port >= 10000 { // not those that it serves
			var address [4]byte
			binary.NativeEndian.PutUint32(address[:], uint32(host)) // as it lies in memory
			out = append(out, connection{int(port), netip.AddrFrom4(address)})
		}
	}
	return out, nil
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
