package packages

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/config"
)

const repository = "../.."

// The unit and the configuration, as far as they can be judged where they are.

func TestTheUnitAllowsLittle(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs systemd-analyze")
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=15", repository+
		"/cmd/package/orchestrator.service").CombinedOutput()
	if err != nil {
		t.Errorf("the exposure is more than 1.5: %v\n%s", err, out)
	}
}

func TestTheShippedConfigurationChangesNothing(t *testing.T) {
	c, err := config.Load(repository + "/cmd/package/orchestrator.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.String(), config.Default().String(); got != want {
		t.Errorf("it says\n%s\nand the default is\n%s", got, want)
	}
}

// What it shows as comments is to be made true by removing the "#".
func TestTheExamplesOfTheShippedConfigurationAreRight(t *testing.T) {
	data, err := os.ReadFile(repository + "/cmd/package/orchestrator.toml")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(rest, " ") {
			line = rest
		}
		lines = append(lines, line)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"orchestrator_servers-password": "secret",
		"o.toml": strings.Join(lines, "")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c, err := config.Load(filepath.Join(dir, "o.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Servers.Password) != "secret" || len(c.Discovery.Seeds) != 1 || len(c.Policies) != 1 ||
		!c.Policies[0].RecoverPrimary {
		t.Errorf("it says\n%s", c)
	}
}

// Env says what is built and tried: "deb" is the Debian package for amd64 alone, as in CI; anything else is all
// packages.
const Env = "ORCHESTRATOR_PACKAGES"

func full(t *testing.T) {
	t.Helper()
	if os.Getenv(Env) == "" || testing.Short() {
		t.Skip("takes minutes: make test-package")
	}
}

func debOnly() bool { return os.Getenv(Env) == "deb" }

// workshop has what was built, until all tests have ended.
var workshop string

func TestMain(m *testing.M) {
	var err error
	if workshop, err = os.MkdirTemp("", "orchestrator-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workshop)
	os.Exit(code)
}

// build makes the packages of a version from a tree; the names are those of the files.
func build(t *testing.T, tree, version string) map[string]string {
	t.Helper()
	out, err := os.MkdirTemp(workshop, "out-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tree+"/cmd/package/build")
	cmd.Env = append(os.Environ(), "VERSION="+version, "ARCHS="+archs(version), "OUT="+out)
	if debOnly() {
		cmd.Env = append(cmd.Env, "FORMS=deb")
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", version, err, said)
	}
	files, err := filepath.Glob(out + "/*")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]string{}
	for _, f := range files {
		built[filepath.Base(f)] = f
	}
	return built
}

var done = map[string]map[string]string{}

// built is build from this tree, once a version.
func built(t *testing.T, version string) map[string]string {
	t.Helper()
	full(t)
	if done[version] == nil {
		done[version] = build(t, repository, version)
	}
	return done[version]
}

const (
	older = "1.0.0"
	newer = "1.1.0"
	deb   = "orchestrator_%s_amd64.deb"
	rpm   = "orchestrator-%s-1.x86_64.rpm"
)

// archs are those that a version is built for: that of the hosts, and for the older version the other one, too.
func archs(version string) string {
	if version == older && !debOnly() {
		return "amd64 arm64"
	}
	return "amd64"
}

func pathOf(t *testing.T, form, version string) string {
	t.Helper()
	p, ok := built(t, version)[fmt.Sprintf(form, version)]
	if !ok {
		t.Fatalf("%s was not built", fmt.Sprintf(form, version))
	}
	return p
}

func sums(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return out
}

func TestTheSameSourceMakesTheSameBytes(t *testing.T) {
	full(t)
	first := sums(t, built(t, older))
	if len(first) != 4 {
		t.Fatalf("built were %v, want two packages for two architectures", first)
	}
	// From a copy of the tree, so that a path, or the time of a file, would show.
	tree := filepath.Join(workshop, "a copy", "of the tree")
	copies := `mkdir -p "$1" && git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1" && cp -a .git "$1/"`
	cmd := exec.Command("sh", "-c", copies, "sh", tree)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copy the tree: %v\n%s", err, out)
	}
	if second := sums(t, build(t, tree, older)); !reflect.DeepEqual(first, second) {
		t.Errorf("the first time\n%v\nthe second time\n%v", first, second)
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestLintianHasNothingToSay(t *testing.T) {
	full(t)
	for name, file := range built(t, older) {
		if strings.HasSuffix(name, ".deb") {
			if out := run(t, "lintian", "--allow-root", "--fail-on", "error,warning",
				file); strings.TrimSpace(out) != "" {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}

// The paths that both packages must have, and how they are protected.
var contents = []string{
	"drwx------ root/root /etc/orchestrator/credentials",
	"-rwxr-xr-x root/root /usr/bin/orchestrator",
	"-rwxr-xr-x root/root /usr/bin/orchestrator-client",
	"-rw-r--r-- root/root /usr/lib/sysusers.d/orchestrator.conf",
	"-rw-r--r-- root/root /usr/share/bash-completion/completions/orchestrator",
	"-rw-r--r-- root/root /usr/share/bash-completion/completions/orchestrator-client",
	"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/orchestrator.fish",
	"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/orchestrator-client.fish",
	"-rw-r--r-- root/root /usr/share/man/man1/orchestrator.1.gz",
	"-rw-r--r-- root/root /usr/share/man/man1/orchestrator-client.1.gz",
	"-rw-r--r-- root/root /usr/share/man/man1/orchestrator-client-topology.1.gz",
	"-rw-r--r-- root/root /usr/share/doc/orchestrator/README.md",
	"-rw-r--r-- root/root /usr/share/doc/orchestrator/NOTICES.gz",
	"-rw-r--r-- root/root /usr/share/doc/orchestrator/orchestrator.toml",
	"-rw-r--r-- root/root /usr/share/doc/orchestrator/docs/install.md",
	"-rw-r--r-- root/root /usr/share/doc/orchestrator/docs/runbooks/daemon-down.md",
	"-rw-r--r-- root/root /usr/share/orchestrator/monitoring/orchestrator.rules.yml",
	"-rw-r--r-- root/root /usr/share/orchestrator/monitoring/prometheus.yml",
	"-rw-r--r-- root/root /usr/share/orchestrator/monitoring/dashboards/fleet.json",
}

func TestWhatIsInTheDebianPackage(t *testing.T) {
	full(t)
	file := pathOf(t, deb, older)
	var lines []string
	for line := range strings.Lines(run(t, "dpkg-deb", "--contents", file)) {
		if f := strings.Fields(line); len(f) == 6 {
			lines = append(lines, f[0]+" "+f[1]+" "+strings.TrimSuffix(strings.TrimPrefix(f[5], "."), "/"))
		}
	}
	has(t, lines, append(slices.Clone(contents),
		"-rw-r----- root/root /etc/orchestrator/orchestrator.toml",
		"-rw-r--r-- root/root /lib/systemd/system/orchestrator.service",
		"-rw-r--r-- root/root /usr/share/zsh/vendor-completions/_orchestrator",
		"-rw-r--r-- root/root /usr/share/zsh/vendor-completions/_orchestrator-client",
		"-rw-r--r-- root/root /usr/share/doc/orchestrator/copyright",
		"-rw-r--r-- root/root /usr/share/doc/orchestrator/changelog.gz"))
	if got := strings.TrimSpace(run(t, "dpkg-deb", "--info", file,
		"conffiles")); got != "/etc/orchestrator/orchestrator.toml" {
		t.Errorf("its conffiles are %q", got)
	}
}

func TestWhatIsInTheRPM(t *testing.T) {
	full(t)
	file := pathOf(t, rpm, older)
	has(t, strings.Split(run(t, "rpm", "-qp", "--qf",
		`[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]`, file), "\n"),
		append(slices.Clone(contents),
			"-rw-r----- root/orchestrator /etc/orchestrator/orchestrator.toml",
			"-rw-r--r-- root/root /usr/lib/systemd/system/orchestrator.service",
			"-rw-r--r-- root/root /usr/share/zsh/site-functions/_orchestrator",
			"-rw-r--r-- root/root /usr/share/zsh/site-functions/_orchestrator-client",
			"-rw-r--r-- root/root /usr/share/licenses/orchestrator/LICENSE"))
	if got := strings.TrimSpace(run(t, "rpm", "-qp", "--configfiles",
		file)); got != "/etc/orchestrator/orchestrator.toml" {
		t.Errorf("its configuration files are %q", got)
	}
}

func has(t *testing.T, lines, want []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("%q is not in it", w)
		}
	}
	if t.Failed() {
		t.Logf("in it is\n%s", strings.Join(lines, "\n"))
	}
}

// The programs need nothing of the machine: not even its C library. And each package has those of its architecture.
func TestTheProgramsAreStatic(t *testing.T) {
	full(t)
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, arch := range strings.Fields(archs(older)) {
		dir, machine := t.TempDir(), machines[arch]
		run(t, "dpkg-deb", "--extract", pathOf(t, strings.Replace(deb, "amd64", arch, 1), older), dir)
		for _, program := range []string{"orchestrator", "orchestrator-client"} {
			f, err := elf.Open(filepath.Join(dir, "usr/bin", program))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Machine != machine {
				t.Errorf("%s is for %v, want %v", program, f.Machine, machine)
			}
			if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
				t.Errorf("%s wants %v, %v", program, libraries, err)
			}
		}
	}
}
