package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/config"
	"orchestrator/tests/lab"
)

// workshop is where the binary is built, and removed from.
var workshop string

// binary is built once for all tests that need real signals.
var binary = sync.OnceValues(func() (string, error) {
	out := filepath.Join(workshop, "orchestrator")
	if text, err := exec.Command("go", "build", "-o", out, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, text)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	var err error
	if workshop, err = os.MkdirTemp("", "orchestrator-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workshop)
	os.Exit(code)
}

// process is a daemon as the service manager sees it.
type process struct {
	*exec.Cmd
	log    *transcript
	states chan string // what it told the service manager
	ended  chan error
}

type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.79.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func configText(listen, rest string) string {
	return fmt.Sprintf("[http]\nlisten = %q\n[backend]\npath = \"orchestrator.db\"\n%s", listen, rest)
}

func start(t *testing.T, configFile string, environment ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &process{Cmd: exec.Command(path, "--config", configFile), log: &transcript{}, states: make(chan string, 100),
		ended: make(chan error, 1)}
	p.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+socket), environment...)
	p.Stderr = p.log
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			p.states <- string(buf[:n])
		}
	}()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

func (p *process) state(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-p.states:
		if first, _, _ := strings.Cut(got, "\n"); first != want {
			t.Fatalf("it tells the service manager %q, want %q", got, want)
		}
	case err := <-p.ended:
		t.Fatalf("it ended (%v) before %q:\n%s", err, want, p.log)
	case <-time.After(20 * time.Second):
		t.Fatalf("it never told the service manager %q:\n%s", want, p.log)
	}
}

func (p *process) says(t *testing.T, want string) {
	t.Helper()
	p.saysTimes(t, 1, want)
}

// saysTimes is for what was said before already.
func (p *process) saysTimes(t *testing.T, times int, want string) {
	t.Helper()
	for range 200 {
		if strings.Count(p.log.String(), want) >= times {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the log never says %q %d times:\n%s", want, times, p.log)
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (p *process) end(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.ended:
		if got := p.ProcessState.ExitCode(); got != code {
			t.Errorf("exit code %d, want %d:\n%s", got, code, p.log)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("it never ended:\n%s", p.log)
	}
}

func TestTheDaemonReloadsAndEndsInOrder(t *testing.T) {
	listen := free(t)
	path := file(t, "o.toml", configText(listen, ""))
	p := start(t, path)
	p.state(t, "READY=1")

	rewrite := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
	}
	rewrite(configText(listen, "[log]\nlevel = \"debug\"\n[discovery]\npoll = \"2s\"\n"))
	p.state(t, "RELOADING=1")
	p.state(t, "READY=1")
	p.says(t, "changed=[log.level] needs_restart=[discovery.poll]")
	r, err := http.Get("http://" + listen + "/api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil ||
		!strings.Contains(string(body), `"needs_restart":["discovery.poll"]`) {
		t.Errorf("its status: %s, %v", body, err)
	}

	rewrite(configText(listen, "[log]\nlevel = \"debu\"\n"))
	p.state(t, "RELOADING=1")
	p.state(t, "READY=1")
	p.says(t, "nothing changed")
	p.says(t, `did you mean \"debug\"?`)

	p.signal(t, syscall.SIGTERM)
	p.state(t, "STOPPING=1")
	p.end(t, exitOK)
}

func TestTheDaemonRunsWithoutTheProgramOfAHook(t *testing.T) {
	const block = "[[hook]]\nname = \"%s\"\non = [\"opened\"]\ncommand = [\"/bin/gone\"]\n"
	listen := free(t)
	path := file(t, "o.toml", configText(listen, fmt.Sprintf(block, "pager")))
	p := start(t, path)
	p.state(t, "READY=1")
	p.says(t, `hook=pager problem="stat /bin/gone: no such file or directory"`)
	if err := os.WriteFile(path, []byte(configText(listen, fmt.Sprintf(block, "chat"))), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.says(t, `hook=chat problem="stat /bin/gone: no such file or directory"`)
	p.says(t, "changed=[hook] needs_restart=[]")
	p.signal(t, syscall.SIGTERM)
	p.end(t, exitOK)
}

// crowd sends changes all the time, each with one of the tokens that it is told to use.
type crowd struct {
	url string
	end context.CancelFunc
	all sync.WaitGroup

	mu      sync.RWMutex // read: while a request is under way
	tokens  []string
	taken   atomic.Int64
	refused atomic.Int64
}

func gather(t *testing.T, listen string, tokens ...string) *crowd {
	ctx, end := context.WithCancel(t.Context())
	c := &crowd{url: "http://" + listen, end: end, tokens: tokens}
	for i := range 4 {
		c.all.Go(func() {
			for ; ctx.Err() == nil; i++ {
				c.mu.RLock()
				if code := c.send(c.tokens[i%len(c.tokens)]); code == http.StatusOK {
					c.taken.Add(1)
				} else {
					t.Errorf("a change was refused with status %d", code)
					c.refused.Add(1)
				}
				c.mu.RUnlock()
			}
		})
	}
	t.Cleanup(c.leave)
	return c
}

func (c *crowd) leave() { c.end(); c.all.Wait() }

// send sends a change that changes nothing, and returns the status; 0: there was no answer.
func (c *crowd) send(token string) int {
	r, err := http.NewRequest(http.MethodPut, c.url+"/api/v1/recoveries", strings.NewReader(`{"on":true,"by":"ann"}`))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer w.Body.Close()
	io.Copy(io.Discard, w.Body)
	return w.StatusCode
}

// use has all send these tokens, and returns when many have; nothing with another is under way then.
func (c *crowd) use(t *testing.T, tokens ...string) {
	t.Helper()
	c.mu.Lock()
	c.tokens = tokens
	c.mu.Unlock()
	enough := c.taken.Load() + 20
	for range 400 {
		if c.taken.Load() >= enough || c.refused.Load() > 0 {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("nobody is answered any more")
}

// The new token becomes valid beside the old one, then the one in use, then the only one. A client that sends a valid
// one is never refused meanwhile, and the daemon keeps leading.
func TestTheTokenIsChangedWithoutAGap(t *testing.T) {
	const first, second = "the-first-of-two-tokens", "the-second-of-two-tokens"
	listen, tokens := free(t), file(t, "token", first+"\n")
	p := start(t, file(t, "o.toml", fmt.Sprintf("[http]\nlisten = %q\ntoken_file = %q\n[backend]\npath = "+
		"\"orchestrator.db\"\n", listen, tokens)))
	p.state(t, "READY=1")
	p.says(t, "msg=leading")
	all := gather(t, listen, first)
	reload := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(tokens, []byte(text), 0o600), os.Chmod(tokens, mode)); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		p.state(t, "RELOADING=1")
		p.state(t, "READY=1")
	}
	open := func(when string, with map[string]int) {
		t.Helper()
		for token, want := range with {
			if got := all.send(token); got != want {
				t.Errorf("%s, %s: status %d, want %d", when, token, got, want)
			}
		}
	}
	open("before", map[string]int{first: 200, second: 401, "": 401})
	for _, text := range []string{first + "\n" + second + "\n", second + "\n" + first + "\n"} {
		reload(text, 0o600)
		open("with both", map[string]int{first: 200, second: 200, "": 401})
		all.use(t, first, second)
	}
	all.use(t, second)
	reload(second+"\n", 0o600)
	alone := map[string]int{first: 401, second: 200, "": 401}
	open("with the new one alone", alone)
	p.saysTimes(t, 3, "changed=[http.token_file] needs_restart=[]") // each of the reloads, the last one too

	for _, bad := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{"", 0o600, "is empty"},
		{"\n \n", 0o600, "contains only white space"},
		{first, 0o604, "can be read by every account (mode 0604)"},
	} {
		reload(bad.text, bad.mode)
		p.says(t, fmt.Sprintf(`key=http.token_file problem="%s %s`, tokens, bad.says))
		open("although the file "+bad.says, alone)
	}
	if err := os.Remove(tokens); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.says(t, `key=http.token_file problem="stat `+tokens+`: no such file or directory"`)
	open("without a file", alone)

	all.use(t, second)
	all.leave()
	t.Logf("%d changes were taken, %d refused", all.taken.Load(), all.refused.Load())
	if log := p.log.String(); strings.Count(log, "msg=leading") != 1 || strings.Contains(log, "no longer leading") {
		t.Errorf("it did not lead all the time:\n%s", log)
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, exitOK)
	if log := p.log.String(); strings.Contains(log, first) || strings.Contains(log, second) {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// After a reload, new clients see a certificate that was renewed in its file; the daemon keeps leading, and a wrong
// file changes nothing.
func TestTheCertificateIsRenewedByAReload(t *testing.T) {
	listen := free(t)
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	first, firstKey := lab.SelfSigned(t, time.Now().Add(time.Hour), host)
	second, secondKey := lab.SelfSigned(t, time.Now().Add(2*time.Hour), host)
	cert, key := file(t, "cert.pem", first), file(t, "key.pem", firstKey)
	p := start(t, file(t, "o.toml", fmt.Sprintf("[http]\nlisten = %q\ntls_cert = %q\ntls_key = %q\n[backend]\npath = "+
		"\"orchestrator.db\"\n", listen, cert, key)))
	p.state(t, "READY=1")
	p.says(t, "msg=leading")
	reload := func(certText, keyText string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(cert, []byte(certText), 0o600),
			os.WriteFile(key, []byte(keyText), 0o600)); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		p.state(t, "RELOADING=1")
		p.state(t, "READY=1")
	}
	// ends trusts this one alone, and returns what the daemon says of when its certificate ends.
	ends := func(trusted string) (string, error) {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(trusted))
		web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: pool}}}
		a, err := web.Get("https://" + listen + "/metrics")
		if err != nil {
			return "", err
		}
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		_, after, _ := strings.Cut(string(text), `orchestrator_certificate_expiry_timestamp_seconds{use="http"} `)
		line, _, _ := strings.Cut(after, "\n")
		return line, err
	}
	shown := func(when, yes, no string) string {
		t.Helper()
		at, err := ends(yes)
		if _, wrong := ends(no); err != nil || at == "" || wrong == nil {
			t.Errorf("%s: %v; its end is %q; with the other one: %v", when, err, at, wrong)
		}
		return at
	}
	before := shown("at first", first, second)
	reload(second, firstKey)
	p.says(t, "are not a certificate and its key")
	shown("with the key of another", first, second)
	reload(second+first[:len(first)/2], secondKey)
	p.says(t, "ends in the middle of a PEM block")
	shown("with half of a chain", first, second)
	reload(second, secondKey)
	p.says(t, `changed="[http.tls_cert http.tls_key]" needs_restart=[]`)
	if after := shown("renewed", second, first); after == before {
		t.Errorf("it says of both that they end at %s", after)
	}
	if log := p.log.String(); strings.Count(log, "msg=leading") != 1 || strings.Contains(log, "PRIVATE KEY") {
		t.Errorf("the log:\n%s", log)
	}
	p.signal(t, syscall.SIGTERM)
	p.end(t, exitOK)
}

func TestTheDaemonEndsWithSIGINTToo(t *testing.T) {
	p := start(t, file(t, "o.toml", configText(free(t), "[log]\nformat = \"json\"\n")))
	p.state(t, "READY=1")
	p.signal(t, syscall.SIGINT)
	p.end(t, exitOK)
	p.says(t, `"msg":"orchestrator has ended"`)
}

func TestAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.79.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, file(t, "o.toml", configText(l.Addr().String(), "")))
	p.end(t, exitListen)
	p.says(t, l.Addr().String())
	p.says(t, "address already in use")
}

func TestABackendThatCantBeOpened(t *testing.T) {
	path := file(t, "o.toml", configText(free(t), ""))
	db := filepath.Join(filepath.Dir(path), "orchestrator.db")
	const letter = "Dear all, this is no database. It is long enough to be taken for one, though, and that is the " +
		"point of it."
	if err := os.WriteFile(db, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, path)
	p.end(t, exitBackend)
	p.says(t, db)
	if data, err := os.ReadFile(db); err != nil || string(data) != letter {
		t.Errorf("what was there is not any more: %q, %v", data, err)
	}
}

// stuck is a daemon that can't end.
type stuck struct{ asked chan struct{} }

func (s stuck) Run(ctx context.Context) error {
	<-ctx.Done()
	close(s.asked)
	select {}
}

func (stuck) Reload(config.Config) []string { return nil }
func (stuck) Alive() error                  { return nil }

func TestTheSecondSignalEndsItAtOnce(t *testing.T) {
	d := stuck{make(chan struct{})}
	signals := make(chan os.Signal, 2)
	done := make(chan error, 1)
	go func() {
		done <- newServer("o.toml", config.Default(), io.Discard).run(context.Background(), d, signals)
	}()
	signals <- syscall.SIGTERM
	<-d.asked
	select {
	case err := <-done:
		t.Fatalf("ended by the first: %v", err)
	default:
	}
	signals <- syscall.SIGTERM
	if err := <-done; err == nil || !strings.Contains(err.Error(), "second signal") {
		t.Errorf("got %v", err)
	}
}

func TestTheWatchdogHearsOfADaemonThatTurns(t *testing.T) {
	p := start(t, file(t, "o.toml", configText(free(t), "")), "WATCHDOG_USEC=200000")
	p.state(t, "READY=1")
	for range 3 {
		p.state(t, "WATCHDOG=1")
	}
	p.signal(t, syscall.SIGSTOP)
	for len(p.states) > 0 {
		<-p.states
	}
	select {
	case got := <-p.states:
		t.Errorf("stopped, it tells the service manager %q", got)
	case <-time.After(time.Second):
	}
	p.signal(t, syscall.SIGCONT)
	p.state(t, "WATCHDOG=1")
}

// hung is a daemon whose loops have ceased to turn.
type hung struct{ stuck }

func (hung) Alive() error { return errors.New("the loop of discovery has not turned for 30s") }

func TestTheWatchdogIsNotToldOfADaemonThatHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	log := &transcript{}
	signals := make(chan os.Signal, 2)
	done := make(chan error, 1)
	d := hung{stuck{make(chan struct{})}}
	go func() { done <- newServer("o.toml", config.Default(), log).run(context.Background(), d, signals) }()
	time.Sleep(200 * time.Millisecond)
	signals <- syscall.SIGTERM
	<-d.asked
	signals <- syscall.SIGTERM
	<-done
	buf := make([]byte, 1024)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		l.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := l.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("it tells the service manager %q, %v; want %q", buf[:n], err, want)
		}
	}
	if got := strings.Count(log.String(), "has not turned for 30s"); got != 1 {
		t.Errorf("the log says %d times what hangs:\n%s", got, log)
	}
}

func TestTheWatchdogIsAskedForByItsVariables(t *testing.T) {
	self := fmt.Sprint(os.Getpid())
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0},
		{"3000000", "", 1500 * time.Millisecond},
		{"3000000", self, 1500 * time.Millisecond},
		{"3000000", "1", 0},
		{"soon", "", 0},
		{"-1", "", 0},
	} {
		got := watchdog(func(name string) string {
			return map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}[name]
		})
		if got != c.want {
			t.Errorf("%q for process %q: %v, want %v", c.usec, c.pid, got, c.want)
		}
	}
}
