package plan

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// weigh lists what speaks against a candidate and for it.
func (v *view) weigh(s *topology.Server, all choice, e Episode) Candidate {
	c := Candidate{Key: s.Key}
	if !s.Up() {
		c.Vetoes = []string{fmt.Sprintf("out of reach (%s)", cmp.Or(string(s.Probe.Failure), "never asked"))}
		return c
	}
	c.Behind, c.Unapplied = v.received(s).Missing(all.need), s.Instance.Executed.Missing(s.Received())
	c.Vetoes = append(v.declared(s), v.unable(s, c.Unapplied)...)
	c.Vetoes = append(c.Vetoes, v.unfit(s, all, e)...)
	c.Eligible = len(c.Vetoes) == 0
	c.Reasons = reasons(s, c)
	if tag := v.Policy.SameTag; v.near(s.Key, e) {
		c.Reasons = append(c.Reasons, fmt.Sprintf("its tag %s is %s, as that of %v", tag, s.Tags[tag], e.Failed))
	}
	n, why := v.unserved(s, all, e)
	if why != "" {
		c.Reasons = append(c.Reasons, why)
	}
	all.left[s.Key] = n
	if k := v.between(s, e); !k.IsZero() {
		c.Reasons = append(c.Reasons, fmt.Sprintf("it follows %v, so direct replicas go first", k))
	}
	return c
}

// declared are the vetoes of people.
func (v *view) declared(s *topology.Server) (vetoes []string) {
	if s.Rule == topology.MustNot {
		vetoes = append(vetoes, "its promotion rule is must_not")
	}
	if d := s.Downtime; v.downtime(s) {
		vetoes = append(vetoes, fmt.Sprintf("it is in downtime until %s (%s: %s)",
			d.Until.UTC().Format(time.RFC3339), d.Owner, d.Reason))
	}
	return vetoes
}

// against is what stands against a candidate, with the way to lift it where that is all that people have declared.
func (v *view) against(c Candidate) string {
	why := strings.Join(c.Vetoes, "; ")
	s := v.servers[c.Key]
	if !s.Up() || len(v.declared(s)) != len(c.Vetoes) {
		return why
	}
	var lift []string
	if s.Rule == topology.MustNot {
		lift = append(lift, fmt.Sprintf("orchestrator-client rule set %v neutral", s.Key))
	}
	if v.downtime(s) {
		lift = append(lift, fmt.Sprintf("orchestrator-client downtime end %v", s.Key))
	}
	return why + "; to lift that: " + strings.Join(lift, ", and ")
}

// unable are the vetoes of the server's own state.
func (v *view) unable(s *topology.Server, unapplied uint64) (vetoes []string) {
	veto := func(format string, args ...any) { vetoes = append(vetoes, fmt.Sprintf(format, args...)) }
	if s.MultiSource() {
		veto("it has several sources, and those are never changed automatically")
	}
	if !s.Instance.LogBin {
		veto("it has no binary log (log_bin is off)")
	}
	if c := s.Channel(); c != nil {
		if !c.AutoPosition {
			veto("it does not replicate by GTID")
		}
		switch why := stuck(s); {
		case c.Delay > 0 && unapplied > 0:
			veto("it is delayed on purpose by %s, and has not applied %s; %s", seconds(c.Delay),
				count(unapplied, "received transaction"), liftDelay(s, *c))
		case c.Delay > 0:
			veto("it is delayed on purpose by %s", seconds(c.Delay))
		case broken(s) == "" && why != "":
			veto("%s", why)
		}
		if lag := c.Lag; v.Policy.MaxLag > 0 && lag != nil && time.Duration(*lag)*time.Second > v.Policy.MaxLag {
			veto("it lags by %s, and the policy allows %s at most", time.Duration(*lag)*time.Second, v.Policy.MaxLag)
		}
	}
	if why := broken(s); why != "" {
		veto("its applier stopped with %s: %s can't be applied", why, count(unapplied, "received transaction"))
	}
	if f := v.finding(s.Key, analysis.ErrantGTID); f != nil && !v.Policy.AllowErrant {
		n := f.Transactions.Count()
		veto("it has %s, written at %s, which would spread (%s)",
			count(n, "errant transaction"), v.writer(s, f.Transactions), f.Transactions.Text())
	}
	return vetoes
}

// writer names the servers at which errant transactions of s were written. On MariaDB only those are found that s wrote
// itself.
func (v *view) writer(s *topology.Server, set gtid.Set) string {
	if s.Instance.Flavor == topology.MariaDB || set.Subtract(set.From(s.Instance.UUID)).Empty() {
		return s.Key.String() + " itself"
	}
	var out []string
	for _, o := range v.Snapshot.Servers {
		if o.Instance == nil || o.Instance.UUID == "" {
			continue
		}
		if from := set.From(o.Instance.UUID); !from.Empty() {
			out, set = append(out, o.Key.String()), set.Subtract(from)
		}
	}
	if !set.Empty() {
		out = append(out, "a server that this daemon does not know")
	}
	return strings.Join(out, " and ")
}

// broken says with which error the applier of s stopped; "" when it works or was merely stopped.
func broken(s *topology.Server) string {
	for _, c := range s.Instance.Channels {
		if c.SQL == topology.Stopped && c.SQLErrno != 0 {
			return fmt.Sprintf("error %d", c.SQLErrno)
		}
	}
	return ""
}

// refusedBy says with which error the receiver of s can't go on, so that it would not follow its source even if that
// lived; "" when it has only lost it. What it has received may be all that is needed: this is no veto.
func refusedBy(s *topology.Server) string {
	if s.Instance == nil {
		return ""
	}
	for _, c := range s.Instance.Channels {
		if c.IO != topology.Running && c.IOErrno != 0 && !topology.ConnectionError(c.IOErrno) && !passing[c.IOErrno] {
			return fmt.Sprintf("its receiver fails with error %d", c.IOErrno)
		}
	}
	return ""
}

func reasons(s *topology.Server, c Candidate) []string {
	var out []string
	if s.Rule == topology.Prefer || s.Rule == topology.PreferNot {
		out = append(out, "its promotion rule is "+string(s.Rule))
	}
	if ch := s.Channel(); ch != nil && !ch.AutoPosition {
		out = append(out, "what it received can't be compared by GTID")
	} else if c.Behind == 0 {
		out = append(out, "it has everything that any reachable replica received")
	} else {
		out = append(out, fmt.Sprintf("it lacks %s that another replica received", count(c.Behind, "transaction")))
	}
	if c.Unapplied == 0 {
		out = append(out, "all of it applied")
	} else {
		out = append(out, fmt.Sprintf("%d of it not applied yet", c.Unapplied))
	}
	if why := refusedBy(s); why != "" {
		out = append(out, why+", so one that is as good goes first")
	}
	return append(out, fmt.Sprintf("version %v", s.Instance.Version))
}

// refuseUnfollowed vetoes candidates that another eligible one could not follow: it runs an older version, or logs in
// another format. One that lacks something, and that nobody can give it, could not be promoted in its place.
func (v *view) refuseUnfollowed(all choice, e Episode) {
	for i := range all.ranking {
		if !all.ranking[i].Eligible {
			continue
		}
		for _, o := range all.ranking {
			a, b := v.servers[all.ranking[i].Key], v.servers[o.Key]
			why := analysis.CantFollow(b.Instance, a.Instance)
			if why != "" && o.Eligible && (v.received(b).Contains(all.need) || v.donor(all, b, e) != nil) {
				all.ranking[i].Eligible = false
				all.ranking[i].Vetoes = append(all.ranking[i].Vetoes,
					fmt.Sprintf("%v could not follow it: %s", o.Key, why))
				break
			}
		}
	}
}
