// Package release says what a program was built from: its version, the commit, the compiler, the platform. It knows
// nothing about what the program does.
//
// The one idea: the Go tool writes into every binary what it was built from, so nothing is maintained by hand. Only
// the builder of a package sets it, because then a version has a name, and the source may come without its history.
package release

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"time"
)

// Set by the linker, as in -ldflags "-X orchestrator/daemon/release.version=1.2.3"; empty: what the Go tool wrote. The
// time is in the form of RFC 3339.
var version, commit, at string

// Release is what the running program was built of.
type Release struct {
	Version  string    `json:"version"`
	Commit   string    `json:"commit,omitempty"`
	Changed  bool      `json:"changed,omitempty"` // there were changes that the commit does not have
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	At       time.Time `json:"at,omitzero"` // of the commit: the same source makes the same pages
}

// This is the release of this program.
func This() Release {
	r := Release{Version: cmp.Or(version, "(devel)"), Go: runtime.Version(), Platform: runtime.GOOS + "/" +
		runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	r.Version = cmp.Or(version, info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			r.Commit = s.Value
		case "vcs.modified":
			r.Changed = s.Value == "true"
		case "vcs.time":
			r.At = moment(s.Value)
		}
	}
	if commit != "" {
		r.Commit, r.At, r.Changed = commit, moment(at), false
	}
	return r
}

func moment(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text) // zero when the builder wrote no time
	return t
}

// Of is one line about a program of this release.
func (r Release) Of(program string) string {
	out := program + " " + r.Version
	if r.Commit != "" {
		out += " commit " + r.Commit
		if r.Changed {
			out += " with changes"
		}
	}
	return out + " " + r.Go + " " + r.Platform
}
