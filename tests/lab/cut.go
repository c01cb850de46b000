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
		rules := [][]string{
			{"-d", s.Key.Host, "-j", "DROP"},
			{"-s", s.Key.Host, "-j", "DROP"},
		}
		more, err := isolate(s.Pid(), s.group())
		if err != nil {
			return fmt.Errorf("cut %v off: %w", s.Key, err)
		}
		s.cut = true
		if err := l.drop(append(rules, more...)...); err != nil {
			return fmt.Errorf("cut %v off: %w", s.Key, err)
		}
	}
	return nil
}

// isolate are the rules that keep a process from hearing those that it connected to.
func isolate(pid int, group uint32) ([][]string, error) {
	if pid == 0 {
		return nil, nil
	}
	rules := [][]string{{"-m", "owner", "--gid-owner", fmt.Sprint(group), "-d", "127.0.0.0/8", "-j", "DROP"}}
	ports, err := connectedPorts(pid)
	for _, port := range ports {
		rules = append(rules, []string{"-p", "tcp", "-d", "127.0.0.0/8", "--dport", strconv.Itoa(port), "-j", "DROP"})
	}
	return rules, err
}

// connectedPorts are the local ports of the connections that a process has.
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
	for _, s := range l.servers {
		s.cut = false
	}
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
