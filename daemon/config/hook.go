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

// HookConfig says who is notified of the episodes of some clusters, by one of Command, URL and URLFile.
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

// defaultHook is a [[hook]] block that only has a name, moments, and what to run.
func defaultHook() HookConfig {
	return HookConfig{Clusters: []string{"*"}, Timeout: 30 * time.Second, Attempts: 3}
}

// HookList is all hooks, in the order of the file.
func (c Config) HookList() []hook.Hook {
	var out []hook.Hook
	for _, h := range c.Hooks {
		out = append(out, hook.Hook{
			Name: h.Name, Command: h.Command, URL: string(h.Target), Token: string(h.Token), On: h.On,
			Of:      func(cluster, alias string) bool { return names(h.Clusters, cluster, alias) },
			Timeout: h.Timeout, Attempts: h.Attempts,
		})
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
			r.add(key+".name",
				"%q is not a valid name: use up to 64 letters, digits and _ . -, beginning with a letter or digit; "+
					"logs, metrics and the API use it", h.Name)
		case slices.Contains(names, h.Name):
			r.add(key+".name",
				"%q is the name of two hooks; each needs its own, because deliveries are recorded by name", h.Name)
		}
		names = append(names, h.Name)
		r.clusters(key+".clusters", h.Clusters)
		if len(h.On) == 0 && !r.about(key+".on") {
			r.add(key+".on",
				`names no moment; set it to ["promoted"], for example, or to all: %s`, list(hook.Moments()))
		}
		r.hookTarget(key, h)
	}
}

// list formats words as a TOML list.
func list[T ~string](of []T) string {
	quoted := make([]string, len(of))
	for i, one := range of {
		quoted[i] = strconv.Quote(string(one))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// hookTarget checks that a hook has one target, and the target.
func (r *reader) hookTarget(key string, h *HookConfig) {
	var ways []string
	for name, is := range map[string]bool{
		"command": len(h.Command) > 0, "url": h.URL != "", "url_file": h.URLFile != "",
	} {
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
		r.add(key, "does nothing; set command, url or url_file")
	case len(ways) > 1:
		r.add(key, "has %s; set only one of them, and add another hook for the other", strings.Join(ways, " and "))
	case len(h.Command) > 0:
		if h.TokenFile != "" {
			r.add(key+".token_file",
				"is only sent to a url; a command that needs a token can take the name of a file as an argument")
		}
		r.command(key+".command", h.Command)
	default:
		r.url(key, h)
		r.hookToken(key+".token_file", h)
	}
}

// command checks a program and its arguments.
func (r *reader) command(key string, command []string) {
	program := command[0]
	if !filepath.IsAbs(program) {
		r.add(key, `%q is not an absolute path: the program comes first, then its arguments, each in quotes; `+
			`for a line of shell: ["/bin/sh", "-c", "…"]`, program)
		return
	}
	if err := executable(program); err != nil {
		r.add(key, "%v", err)
		r.problems[len(r.problems)-1].harmless = true
	}
	for _, argument := range command[1:] {
		r.argument(key, argument)
	}
}

// argument refuses a placeholder: what it stands for comes from servers, and would be run as code.
func (r *reader) argument(key, argument string) {
	if strings.ContainsRune(argument, 0) {
		r.add(key, "contains a zero byte, which is not possible in an argument")
	}
	for _, at := range placeholders.FindAllStringIndex(argument, -1) {
		if at[0] > 0 && argument[at[0]-1] == '$' { // a variable of the shell
			continue
		}
		placeholder := argument[at[0]:at[1]]
		if variable := hook.Variable(strings.Trim(placeholder, "{}")); variable != "" {
			r.add(key, "%s is not replaced here, because its value comes from servers and must not be run as code; "+
				"use the environment variable $%s", placeholder, variable)
		}
	}
}

// executable says why a program cannot be run.
func executable(program string) error {
	info, err := os.Stat(program)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", program)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable: chmod +x %s", program, program)
	}
	return nil
}

// LogFailingHooks logs which hooks cannot be run now. They are kept: the program may be there again when it is needed,
// and if it is not, the run is recorded as failed.
func (c Config) LogFailingHooks(log *slog.Logger) {
	for _, h := range c.Hooks {
		if len(h.Command) == 0 {
			continue
		}
		if err := executable(h.Command[0]); err != nil {
			log.Error("a hook cannot be run, and fails until its program is fixed", "hook", h.Name, "problem", err)
		}
	}
}

// placeholders are what the predecessor of this program replaced in the commands of its hooks.
var placeholders = regexp.MustCompile(`\{[a-zA-Z]+\}`)

// url checks the URL of a hook, from the configuration or from a file. What is wrong with one in a file is said without
// showing it.
func (r *reader) url(key string, h *HookConfig) {
	where, subject := key+".url", ""
	h.Target = Secret(h.URL)
	if h.URLFile != "" {
		where = key + ".url_file"
		r.path(where, &h.URLFile)
		subject = "the content of " + h.URLFile + " "
		if !r.urlFile(where, h) {
			return
		}
	}
	switch u, err := url.Parse(string(h.Target)); {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		r.add(where, `%sis not an address; it must be "https://host/path"`, subject)
	case !validPort(u.Port()):
		r.add(where, "%shas port %s; it must be from 1 to 65535", subject, u.Port())
	case u.User != nil:
		r.add(where,
			"contains a password: put the token into a file, and set token_file; it is sent as Authorization: Bearer")
	}
}

// urlFile reads the file with the URL of a hook.
func (r *reader) urlFile(key string, h *HookConfig) bool {
	if r.bad[key] {
		return false
	}
	lines := r.content(key, h.URLFile)
	if len(lines) > 1 {
		r.add(key, "%s has %d lines that are not empty; it must have one, the URL", h.URLFile, len(lines))
	}
	if len(lines) != 1 {
		return false
	}
	h.Target = Secret(lines[0])
	return true
}

// hookToken reads the file with the token that is sent to the URL of a hook.
func (r *reader) hookToken(key string, h *HookConfig) {
	if h.TokenFile == "" {
		return
	}
	r.path(key, &h.TokenFile)
	if r.bad[key] {
		return
	}
	if lines := r.content(key, h.TokenFile); len(lines) > 0 {
		h.Token = Secret(lines[0])
	}
	if strings.ContainsFunc(string(h.Token), unicode.IsControl) {
		r.add(key,
			"the first line of %s contains a control character, which is not possible in a header", h.TokenFile)
	}
}

// validPort says whether a URL may have the port; "" is that of its scheme.
func validPort(port string) bool {
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && n >= 1 && n <= 65535
}
