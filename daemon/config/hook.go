package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"orchestrator/daemon/hook"
)

// HookConfig is who is told about the episodes of some clusters. One of Command, URL and URLFile says how.
type HookConfig struct {
	Name      string        `toml:"name"`
	Clusters  []string      `toml:"clusters"`
	On        []hook.Moment `toml:"on" oneof:"opened blocked promoted recovered withdrawn fenced"`
	Command   []string      `toml:"command"`
	URL       WebAddress    `toml:"url"`
	URLFile   string        `toml:"url_file"`
	TokenFile string        `toml:"token_file"`
	Timeout   time.Duration `toml:"timeout" min:"100ms" max:"1h"`
	Attempts  int           `toml:"attempts" min:"1" max:"100"`

	Target Secret `toml:"-"` // URL, or what URLFile holds
	Token  Secret `toml:"-"` // what TokenFile holds
}

// defaultHook is a [[hook]] block that says nothing but its name, its moments, and how.
func defaultHook() HookConfig {
	return HookConfig{Clusters: []string{"*"}, Timeout: 30 * time.Second, Attempts: 3}
}

// HookList is all hooks that the configuration names, in its order.
func (c Config) HookList() []hook.Hook {
	var out []hook.Hook
	for _, h := range c.Hooks {
		out = append(out, hook.Hook{Name: h.Name, Command: h.Command, URL: string(h.Target), Token: string(h.Token), On: h.On,
			Of: func(cluster, alias string) bool { return names(h.Clusters, cluster, alias) }, Timeout: h.Timeout, Attempts: h.Attempts})
	}
	return out
}

var hookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func (r *reader) hooks(hooks []HookConfig) {
	var names []string
	for i := range hooks {
		h := &hooks[i]
		key := fmt.Sprintf("hook[%d]", i)
		switch {
		case r.bad[key+".name"]:
		case !hookName.MatchString(h.Name):
			r.add(key+".name", "%q is no name; want letters, digits, and _ . - after the first, 64 at most: logs, metrics and the API call the hook so", h.Name)
		case slices.Contains(names, h.Name):
			r.add(key+".name", "%q is the name of two hooks; what a hook was told is on record under its name", h.Name)
		}
		names = append(names, h.Name)
		r.clusters(key+".clusters", h.Clusters)
		if len(h.On) == 0 && !r.about(key+".on") {
			r.add(key+".on", `names no moment; such as ["promoted"], or all: %s`, list(hook.Moments()))
		}
		r.tells(key, h)
	}
}

// list writes words as a list of the file.
func list[T ~string](of []T) string {
	quoted := make([]string, len(of))
	for i, one := range of {
		quoted[i] = strconv.Quote(string(one))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// tells checks how a hook is told.
func (r *reader) tells(key string, h *HookConfig) {
	var ways []string
	for name, is := range map[string]bool{"command": len(h.Command) > 0, "url": h.URL != "", "url_file": h.URLFile != ""} {
		if is {
			ways = append(ways, name)
		}
		if r.about(key + "." + name) {
			return
		}
	}
	slices.Sort(ways)
	switch {
	case len(ways) == 0:
		r.add(key, "does nothing; give it a command, a url, or a url_file")
	case len(ways) > 1:
		r.add(key, "has %s; want one of them: make a hook of each", strings.Join(ways, " and "))
	case len(h.Command) > 0:
		if h.TokenFile != "" {
			r.add(key+".token_file", "is sent to a url only; name it in an argument of the command, which reads it then")
		}
		r.command(key+".command", h.Command)
	default:
		r.target(key, h)
	}
}

// command checks a program and its arguments.
func (r *reader) command(key string, command []string) {
	program := command[0]
	if !filepath.IsAbs(program) {
		r.add(key, `%q is no absolute path: the program comes first, then its arguments, each in quotes; for a line of shell: ["/bin/sh", "-c", "…"]`, program)
		return
	}
	if err := executable(program); err != nil {
		r.add(key, "%v", err)
		r.problems[len(r.problems)-1].bearable = true
	}
	for _, argument := range command[1:] {
		if strings.ContainsRune(argument, 0) {
			r.add(key, "holds a zero byte, which no argument can")
		}
		for _, at := range placeholders.FindAllStringIndex(argument, -1) {
			if at[0] > 0 && argument[at[0]-1] == '$' { // a shell's own variable
				continue
			}
			placeholder := argument[at[0]:at[1]]
			if variable := hook.Variable(strings.Trim(placeholder, "{}")); variable != "" {
				r.add(key, `%s is not replaced here, because what stands for it comes from servers and is no code; the command has it in its environment: $%s`, placeholder, variable)
			}
		}
	}
}

// executable says why a program can't be run.
func executable(program string) error {
	info, err := os.Stat(program)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no file", program)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s can't be executed: chmod +x %s", program, program)
	}
	return nil
}

// LogFailingHooks logs which hooks can't be run as things are. They are kept: the program may be back before there is something to tell, and if it is not, the
// run fails, and is on record as failed.
func (c Config) LogFailingHooks(log *slog.Logger) {
	for _, h := range c.Hooks {
		if len(h.Command) == 0 {
			continue
		}
		if err := executable(h.Command[0]); err != nil {
			log.Error("a hook can't be run, and will fail until its program is put right", "hook", h.Name, "problem", err)
		}
	}
}

// placeholders are what the old tool replaces in the commands of its hooks.
var placeholders = regexp.MustCompile(`\{[a-zA-Z]+\}`)

// target checks a URL, and reads the secrets that go with it. What is wrong with one in a file is said without showing it.
func (r *reader) target(key string, h *HookConfig) {
	where, says := key+".url", ""
	h.Target = Secret(h.URL)
	if h.URLFile != "" {
		where = key + ".url_file"
		r.path(where, &h.URLFile)
		if r.bad[where] {
			return
		}
		lines := r.content(where, h.URLFile)
		if len(lines) == 0 {
			return
		}
		if len(lines) > 1 {
			r.add(where, "%s has %d lines with something in them; want one, the URL", h.URLFile, len(lines))
			return
		}
		h.Target = Secret(lines[0])
		says = "what " + h.URLFile + " holds "
	}
	switch u, err := url.Parse(string(h.Target)); {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.add(where, `%sis no address; want "https://host/path"`, says)
	case !possible(u.Port()):
		r.add(where, "%snames port %s; there are 1 to 65535", says, u.Port())
	case u.User != nil:
		r.add(where, "holds a password: put the token into a file, and name that in token_file; it is sent as Authorization: Bearer")
	}
	if h.TokenFile != "" {
		where = key + ".token_file"
		r.path(where, &h.TokenFile)
		if !r.bad[where] {
			if lines := r.content(where, h.TokenFile); len(lines) > 0 {
				h.Token = Secret(lines[0])
			}
			if strings.ContainsFunc(string(h.Token), unicode.IsControl) {
				r.add(where, "%s has a control character in its first line, which no header can; write it anew", h.TokenFile)
			}
		}
	}
}

// possible says whether a URL may name the port; "" is that of its scheme.
func possible(port string) bool {
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && n >= 1 && n <= 65535
}
