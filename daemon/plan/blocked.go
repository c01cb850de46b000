package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// A dead primary that may not be replaced has an episode, too, in the stage Suspected and blocked, so that people and
// hooks hear of it. Each turn weighs the reasons again. It goes on as soon as they are gone.

const (
	// unwitnessedFor is how long a primary must have been out of reach, with nobody who could tell whether it lives,
	// before that is an episode: our own network may be what fails.
	unwitnessedFor = 10 * time.Second
	// stalledFor is how many seconds commits must have hung before that is an episode.
	stalledFor = 10
)

// block puts on record why nothing is done.
func (p *primaryFailover) block(reasons ...string) Work {
	p.e.Blocked = strings.Join(reasons, "; ")
	return Work{Episode: &p.e, Refused: reasons}
}

// unwitnessed is the work on a primary of which nobody can tell whether it lives.
func (p *primaryFailover) unwitnessed(why string) Work {
	s := p.servers[p.e.Failed]
	switch {
	case p.Snapshot.At.Sub(s.Probe.FailingSince) >= unwitnessedFor:
		return p.block(why)
	case len(p.refused) > 0:
		return Work{Refused: p.refused}
	}
	return p.waits(p.e, "%s", why)
}

// allAsked says that all replicas that answer were asked after the failed server fell silent.
func (p *primaryFailover) allAsked() bool {
	since := p.servers[p.e.Failed].Probe.FailingSince
	return !slices.ContainsFunc(p.followers[p.e.Failed], func(r *topology.Server) bool {
		return r.Probe.Answered.Before(since)
	})
}

// answering is the work on a primary that answers, and has an episode: it is over, unless writers hang there, or it was
// promoted, has restarted read-only and must not be opened.
func (p *primaryFailover) answering(s *topology.Server) Work {
	if why := p.shut(s.Key); why != "" {
		return p.block(why)
	}
	if p.e.Code == analysis.PrimaryNotWritable {
		over := fmt.Sprintf("%v takes writes, or somebody has decided that it should not", s.Key)
		return p.withdraw(over, over)
	}
	if p.finding(s.Key, analysis.PrimaryStalled) == nil || slices.ContainsFunc(p.e.Touched, p.halted) {
		return p.undo()
	}
	return p.block(stalls(s, "answers", ": it is alive, so no other server is promoted"))
}

// stalls says that commits at a server hang, which is so, and what follows; then what a person can do.
func stalls(s *topology.Server, is, so string) string {
	return fmt.Sprintf("%v %s, and its commits hang%s. %s", s.Key, is, so, unstall(s.Instance.Stalled))
}

// unstall is what a person can do about commits that hang.
func unstall(t *topology.Stall) string {
	switch t.Cause {
	case "disk_full":
		return "Its disk is full: free space on it"
	case "semi_sync":
		return "It waits for acknowledgements of semi-synchronous replicas: bring replicas back, or switch " +
			"semi-synchronous replication off on it"
	case "lock":
		return "A session holds a lock of the whole server: find it (SHOW PROCESSLIST), and end it (KILL)"
	}
	return "Find out what they wait for: SHOW PROCESSLIST"
}

// hangs says that commits at a promoted server hang, and that none has been seen there: clients can't write, so the
// failover is not over. "" when that is not so.
func (p *primaryFailover) hangs(primary *topology.Server) string {
	if primary.Instance.Stalled == nil || !p.e.Committed.IsZero() {
		return ""
	}
	return stalls(primary, "was promoted", ", so no client can write")
}

// halted says that the receiver of the server at k stands still.
func (v *view) halted(k topology.Key) bool {
	s := v.up(k)
	return s != nil && s.Channel() != nil && s.Channel().Halted()
}

// SameReasons says that reasons differ in what only counts. Nobody is told them again then: it is no news that a
// replica lags by a second more.
func SameReasons(a, b []string) bool { return slices.EqualFunc(a, b, sameReason) }

func sameReason(a, b string) bool {
	return slices.Equal(wordsOf(a), wordsOf(b))
}

// wordsOf are the words of a text without what only counts, and without the grammar of numbers: "1 transaction is" and
// "2 transactions are" have the same.
func wordsOf(text string) []string {
	var out []string
	for _, word := range strings.Fields(text) {
		if word = strings.Trim(word, ".,;:()"); !counts(word) {
			out = append(out, singular(word))
		}
	}
	return out
}

// counts says that a word is a number, a duration, a set of GTIDs or a place in a binary log. The name of a server is
// none.
func counts(word string) bool {
	if word == "" || word[0] >= '0' && word[0] <= '9' && strings.Trim(word, "0123456789.hmsµn") == "" {
		return true
	}
	set, err := gtid.Parse(word)
	return err == nil && !set.Empty() || placed(word)
}

// placed says that a word is a place in a binary log, such as binlog.000012:4711.
func placed(word string) bool {
	_, after, _ := strings.Cut(word, ".")
	file, at, found := strings.Cut(after, ":")
	return found && len(file) >= 6 && at != "" && strings.Trim(file+at, "0123456789") == ""
}

func singular(word string) string {
	switch word {
	case "are":
		word = "is"
	case "were":
		word = "was"
	case "have":
		word = "has"
	case "them":
		word = "it"
	}
	return strings.TrimSuffix(word, "s")
}

// settle leaves the reason that is on record where nothing but numbers has changed.
func (v *view) settle(w *Work) {
	if w.Episode == nil || w.Episode.Blocked == "" {
		return
	}
	for _, e := range v.Episodes {
		if e.ID == w.Episode.ID && e.Blocked != w.Episode.Blocked && sameReason(e.Blocked, w.Episode.Blocked) {
			w.Episode.Blocked = e.Blocked
		}
	}
}
