package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// DiscoveryConfig is about which servers to probe, and when.
type DiscoveryConfig struct {
	Seeds       []topology.Key `toml:"seeds" reload:"yes"`
	Poll        time.Duration  `toml:"poll" min:"50ms" max:"1h"`
	MaxBackoff  time.Duration  `toml:"max_backoff" min:"50ms" max:"24h"`
	Concurrency int            `toml:"concurrency" min:"1" max:"10000"`
	// Only these servers are asked; none: what is found is.
	Only []topology.Pattern `toml:"only" reload:"yes"`
	// How many servers are looked at that are known by a registration alone.
	MaxRegistered int              `toml:"max_registered" min:"1" max:"10000"`
	MaxStrangers  int              `toml:"max_strangers" min:"1" max:"100000"`
	Ignore        []*regexp.Regexp `toml:"ignore"` // matched against Key.String()
}

// AnalysisConfig is about when a fact becomes a finding.
type AnalysisConfig struct {
	Lag     time.Duration `toml:"lag" min:"1s" max:"24h" reload:"yes"`
	Silence time.Duration `toml:"silence" min:"100ms" max:"1h"`
}

func (r *reader) discovery(c *Config) {
	for i, k := range c.Discovery.Seeds {
		named := func(p topology.Pattern) bool { return p.Named(k) || p.IsNetwork() && !k.IsAddress() }
		if only := c.Discovery.Only; len(only) > 0 && !slices.ContainsFunc(only, named) {
			r.add(fmt.Sprintf("discovery.seeds[%d]", i),
				"%v is not admitted by discovery.only: add a pattern for it", k)
		}
	}
	if !r.bad["discovery.max_backoff"] && !r.bad["discovery.poll"] && c.Discovery.MaxBackoff < c.Discovery.Poll {
		r.add("discovery.max_backoff",
			"%v is shorter than discovery.poll (%v)", c.Discovery.MaxBackoff, c.Discovery.Poll)
	}
	if !r.bad["servers.probe_timeout"] && !r.bad["analysis.silence"] && c.Servers.ProbeTimeout >= c.Analysis.Silence {
		key := "servers.probe_timeout"
		if _, ok := r.lines[key]; !ok {
			key = "analysis.silence"
		}
		r.add(key,
			"servers.probe_timeout (%v) must be shorter than analysis.silence (%v): "+
				"one slow answer would look like a dead server",
			c.Servers.ProbeTimeout, c.Analysis.Silence)
	}
}
