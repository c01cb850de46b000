// Package lab starts real MariaDB and MySQL servers for tests, the demo and the benchmarks, makes them replicate, and
// breaks them: killed, hung, cut off from the network.
//
// It judges nothing: what should have happened is for its users to say. The one idea: each server is an ordinary
// process with an address of its own in 127.0.0.0/8, port 3306, so that programs see separate hosts; it starts in about
// a second from a copy of a prepared data directory, and it dies with the process that started it.
//
// It needs root: for MySQL, which runs in a Debian root of its own, and for network cuts. "make install-deps" puts
// everything in place.
package lab

import (
	"cmp"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

const (
	// CacheEnv names the directory of what is kept between runs: the Debian root with MySQL, and prepared data
	// directories.
	CacheEnv     = "ORCHESTRATOR_CACHE"
	defaultCache = "/var/cache/orchestrator"
	// SubnetsEnv restricts which S of 127.0.S.N this process may take, as "20-29"; for machines where others use some
	// of them.
	SubnetsEnv     = "ORCHESTRATOR_LAB_SUBNETS"
	defaultSubnets = "100-249"

	// lockHost and lockPort are where a lab listens to own its subnet; no server gets that address.
	lockHost = 254
	lockPort = 3399
	// groups is where the group ids of the started processes begin: each has its own, so that a cut can tell them
	// apart.
	groups = 1 << 20
)

// Lab owns a subnet 127.0.S.0/24 and the servers in it.
type Lab struct {
	Subnet int
	cache  string
	dir    string // of MariaDB's data directories, and whatever else belongs to this lab
	lock   net.Listener
	starts chan func() // run on one thread that lives as long as the lab, see keeper

	mu      sync.Mutex
	servers []*Server
	daemons []*Daemon
	proxies []*HAProxy
	last    int // of the addresses given away
	chain   bool
	closed  bool
}

func cacheDir() string { return cmp.Or(os.Getenv(CacheEnv), defaultCache) }

// New takes the first free subnet and clears away what a lab that was killed left there.
func New() (*Lab, error) {
	cache := cacheDir()
	subnets := os.Getenv(SubnetsEnv)
	if subnets == "" {
		subnets = defaultSubnets
	}
	from, to, err := parseSubnets(subnets)
	if err != nil {
		return nil, fmt.Errorf("read %s=%q: %w", SubnetsEnv, subnets, err)
	}
	if err := quiet(); err != nil {
		return nil, err
	}
	for s := from; s <= to; s++ {
		lock, err := net.Listen("tcp", fmt.Sprintf("127.0.%d.%d:%d", s, lockHost, lockPort))
		if err != nil {
			continue
		}
		l := &Lab{Subnet: s, cache: cache, dir: filepath.Join(cache, "lab", strconv.Itoa(s)), lock: lock,
			starts: make(chan func())}
		if err := l.sweep(); err != nil {
			lock.Close()
			return nil, fmt.Errorf("prepare subnet 127.0.%d.0: %w", s, err)
		}
		go l.keeper()
		return l, nil
	}
	return nil, fmt.Errorf("take a subnet of 127.0.{%s}.0: all are in use", subnets)
}

// quiet has the driver keep to itself each connection that breaks: here they are broken on purpose. Once, for labs are
// made at the same time.
var quiet = sync.OnceValue(func() error { return mysql.SetLogger(log.New(discard{}, "", 0)) })

// discard and not io.Discard, because the log package would take that for "no logger".
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func parseSubnets(text string) (from, to int, err error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	if from, err = strconv.Atoi(first); err != nil {
		return 0, 0, err
	}
	if to, err = strconv.Atoi(last); err != nil {
		return 0, 0, err
	}
	if from < 0 || to > 255 || from > to {
		return 0, 0, errors.New("want two numbers from 0 to 255, the smaller first")
	}
	return from, to, nil
}

// keeper runs starts on one thread that lives as long as the lab: the kernel kills what asked for that when the
// *thread* that started it ends.
func (l *Lab) keeper() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range l.starts {
		start()
	}
}

// onKeeper runs start on the thread that lives long enough.
func (l *Lab) onKeeper(start func() error) error {
	done := make(chan error)
	l.starts <- func() { done <- start() }
	return <-done
}

// sweep removes what a lab of this subnet left behind. It holds the lock, so nobody uses that.
func (l *Lab) sweep() error {
	dropChain(l.chainName())
	for _, dir := range []string{l.dir, l.mysqlDir()} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return os.MkdirAll(l.dir, 0o755)
}

// Dir is a directory of this lab; it goes when the lab is closed.
func (l *Lab) Dir() string { return l.dir }

// number hands out the next one: N of 127.0.S.N.
func (l *Lab) number() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last++; l.last >= lockHost {
		return 0, fmt.Errorf("take an address of 127.0.%d.0: all are used up", l.Subnet)
	}
	return l.last, nil
}

func (l *Lab) address(number int) string { return fmt.Sprintf("127.0.%d.%d", l.Subnet, number) }

// Address hands out an address 127.0.S.N that nobody else in this lab gets.
func (l *Lab) Address() (string, error) {
	number, err := l.number()
	return l.address(number), err
}

// Servers are all that were started, in that order.
func (l *Lab) Servers() []*Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Server(nil), l.servers...)
}

// Daemons are all that were started, in that order.
func (l *Lab) Daemons() []*Daemon {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Daemon(nil), l.daemons...)
}

// Reset kills all servers and daemons, heals all cuts and frees the addresses: what follows begins with nothing, and
// quicker than in a new lab.
func (l *Lab) Reset() error {
	var failed error
	for _, d := range l.Daemons() {
		failed = errors.Join(failed, d.Close())
	}
	for _, h := range l.HAProxies() {
		failed = errors.Join(failed, h.Close())
	}
	for _, s := range l.Servers() {
		failed = errors.Join(failed, s.Close())
	}
	l.mu.Lock()
	l.proxies = nil
	l.servers, l.daemons, l.last, l.chain = nil, nil, 0, false
	l.mu.Unlock()
	return errors.Join(failed, l.sweep())
}

// Close kills all servers and daemons, heals all cuts and removes all files.
func (l *Lab) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	failed := l.Reset()
	close(l.starts)
	return errors.Join(failed, os.RemoveAll(l.dir), l.lock.Close())
}
