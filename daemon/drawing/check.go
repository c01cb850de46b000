package drawing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

var (
	states = []topology.ThreadState{topology.Running, topology.Stopped, topology.Connecting}
	rules  = []topology.Rule{"", topology.Prefer, topology.Neutral, topology.PreferNot, topology.MustNot}
)

func (s Saved) sort() {
	s.Snapshot.Sort()
	slices.SortStableFunc(s.ByCluster, func(a, b Cluster) int { return cmp.Compare(a.Cluster, b.Cluster) })
}

// check says what must not come from outside.
func check(s Saved) error {
	if err := checkSnapshot(s.Snapshot); err != nil {
		return err
	}
	for n, c := range s.ByCluster {
		if c.Cluster == "" {
			return errors.New("clusters: one of them has no name")
		}
		if n > 0 && s.ByCluster[n-1].Cluster == c.Cluster {
			return fmt.Errorf("clusters: %q is there twice", clip(c.Cluster))
		}
		if err := checkCluster(c); err != nil {
			return fmt.Errorf("cluster %q: %w", clip(c.Cluster), err)
		}
	}
	return nil
}

func checkCluster(c Cluster) error {
	for _, r := range c.Requests {
		if r.ID == "" || r.Server.IsZero() {
			return fmt.Errorf("a request lacks its id or its server")
		}
		if kinds := plan.RequestKinds(); !slices.Contains(kinds, r.Kind) {
			return fmt.Errorf("request %q: kind %q: want one of %v", clip(r.ID), clip(string(r.Kind)), kinds)
		}
	}
	seen := map[string]bool{}
	for _, e := range c.Episodes {
		if seen[e.ID] {
			return fmt.Errorf("episode %q is there twice", clip(e.ID))
		}
		seen[e.ID] = true
		if e.Cluster != c.Cluster {
			return fmt.Errorf("episode %q is of cluster %q", clip(e.ID), clip(e.Cluster))
		}
		if err := checkEpisode(e); err != nil {
			return err
		}
	}
	for _, claim := range c.Claims {
		if claim.Failed.IsZero() || slices.ContainsFunc(slices.Concat(claim.Locks.Held, claim.Locks.Alive),
			topology.Key.IsZero) {
			return fmt.Errorf("a claim for %q: a server is empty", clip(claim.Work))
		}
	}
	return nil
}

// checkEpisode leaves the invariants of plan alone: a daemon may have stored an episode that breaks one, and that must
// be seen.
func checkEpisode(e plan.Episode) error {
	if kinds := plan.EpisodeKinds(); !slices.Contains(kinds, e.Kind) {
		return fmt.Errorf("episode %q: kind %q: want one of %v", clip(e.ID), clip(string(e.Kind)), kinds)
	}
	keys := slices.Concat(e.Touched, e.Abandoned, e.Opening, e.Left)
	for _, l := range e.Lost {
		keys = append(keys, l.Key)
	}
	if slices.ContainsFunc(keys, topology.Key.IsZero) {
		return fmt.Errorf("episode %q: a server is empty", clip(e.ID))
	}
	return nil
}

func checkSnapshot(s topology.Snapshot) error {
	if s.At.IsZero() {
		return errors.New(`"at", the moment of the snapshot, is missing`)
	}
	for n, v := range s.Servers {
		if v.Key.IsZero() {
			return errors.New(`a server has no "key"`)
		}
		if n > 0 && s.Servers[n-1].Key == v.Key {
			return fmt.Errorf("%v is there twice", v.Key)
		}
		if v.Key.Detached() {
			return fmt.Errorf("%v: only a source can be detached", v.Key)
		}
		if err := checkServer(v); err != nil {
			return fmt.Errorf("%v: %w", v.Key, err)
		}
	}
	for cluster, k := range s.Promoted {
		if k.IsZero() {
			return fmt.Errorf("promoted: cluster %q has no key", clip(cluster))
		}
	}
	return nil
}

func checkServer(v topology.Server) error {
	if f := v.Probe.Failure; f != topology.OK && failureTexts[f] == "" {
		return fmt.Errorf("failure %q: want %s", clip(string(f)), failureNames)
	}
	if !slices.Contains(rules, v.Rule) {
		return fmt.Errorf("promotion_rule %q: want prefer, neutral, prefer_not or must_not", clip(string(v.Rule)))
	}
	if slices.ContainsFunc(v.Names, topology.Key.IsZero) {
		return errors.New("names: one of them is empty")
	}
	if v.Stranger != nil && !slices.Contains(topology.StrangerKinds(), v.Stranger.Kind) {
		return fmt.Errorf("stranger: kind %q: want one of %v", clip(string(v.Stranger.Kind)), topology.StrangerKinds())
	}
	if v.Instance == nil {
		return nil
	}
	return checkInstance(*v.Instance)
}

func checkInstance(i topology.Instance) error {
	if i.Flavor != topology.MySQL && i.Flavor != topology.MariaDB {
		return fmt.Errorf("flavor %q: want mysql or mariadb", clip(string(i.Flavor)))
	}
	if slices.ContainsFunc(i.Registered, topology.Key.IsZero) {
		return errors.New("registered: one of them is empty")
	}
	if i.Stalled != nil && stallStates[i.Stalled.Cause] == "" {
		return fmt.Errorf("stalled: cause %q: want disk_full, semi_sync, lock or commit", clip(i.Stalled.Cause))
	}
	sets := i.Executed.Union(i.Purged).Union(i.BinlogWritten)
	for _, c := range i.Channels {
		if c.Source.IsZero() && len(i.Unusable) == 0 { // what it says may be no name
			return errors.New(`a channel has no "source"`)
		}
		if !slices.Contains(states, c.IO) || !slices.Contains(states, c.SQL) {
			return fmt.Errorf("channel from %v: io %q and sql %q: want yes, no or connecting",
				c.Source, clip(string(c.IO)), clip(string(c.SQL)))
		}
		sets = sets.Union(c.Received)
	}
	if i.Flavor == topology.MySQL && len(sets.LastWriters()) > 0 || i.Flavor == topology.MariaDB &&
		len(sets.Writers()) > 0 {
		return fmt.Errorf("a %s server with GTIDs of the other flavour", i.Flavor)
	}
	return nil
}
