package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// PolicyConfig says what is allowed in some clusters.
type PolicyConfig struct {
	Clusters            []string      `toml:"clusters"`
	RecoverPrimary      bool          `toml:"recover_primary"`
	RecoverIntermediate bool          `toml:"recover_intermediate"`
	DrainTimeout        time.Duration `toml:"drain_timeout" min:"0s" max:"24h"`
	MaxLag              time.Duration `toml:"max_lag" min:"0s" max:"24h"`
	AllowReceivedLoss   bool          `toml:"allow_received_loss"`
	AllowUnfenced       bool          `toml:"allow_unfenced"`
	AllowErrant         bool          `toml:"allow_errant"`
	AllowFilters        bool          `toml:"allow_filters"`
	FenceOthers         bool          `toml:"fence_others"`
	Heartbeat           string        `toml:"heartbeat"`
	AntiFlap            time.Duration `toml:"anti_flap" min:"0s" max:"720h"`
	Members             []string      `toml:"members"`
	SameTag             string        `toml:"same_tag"`
}

// defaultPolicy is a [[policy]] block that only names its clusters.
func defaultPolicy() PolicyConfig {
	return PolicyConfig{DrainTimeout: 10 * time.Second, AllowUnfenced: true, AntiFlap: 10 * time.Minute, SameTag: "dc"}
}

// Permissive is the policy of a block that names every cluster, sets recover_primary and recover_intermediate, and
// leaves the rest at its default. "analyze" uses it where no configuration is given.
func Permissive() plan.Policy {
	p := defaultPolicy()
	p.Clusters, p.RecoverPrimary, p.RecoverIntermediate = []string{"*"}, true, true
	return Config{Policies: []PolicyConfig{p}}.Policy("", "")
}

// Policy is what the first block allows that names the cluster, by its name or its alias. It is the zero Policy, which
// allows nothing, when no block does.
func (c Config) Policy(cluster, alias string) plan.Policy {
	for _, p := range c.Policies {
		if !names(p.Clusters, cluster, alias) {
			continue
		}
		return plan.Policy{
			Named:               true,
			RecoverPrimary:      p.RecoverPrimary,
			RecoverIntermediate: p.RecoverIntermediate,
			DrainTimeout:        p.DrainTimeout,
			MaxLag:              p.MaxLag,
			AllowReceivedLoss:   p.AllowReceivedLoss,
			AllowUnfenced:       p.AllowUnfenced,
			AllowErrant:         p.AllowErrant,
			AllowFilters:        p.AllowFilters,
			FenceOthers:         p.FenceOthers,
			Heartbeat:           p.Heartbeat,
			AntiFlap:            p.AntiFlap,
			Members:             p.members(),
			SameTag:             p.SameTag,
		}
	}
	return plan.Policy{}
}

func (r *reader) policies(policies []PolicyConfig) {
	all := -1 // the first policy that names every cluster
	for i, p := range policies {
		key := fmt.Sprintf("policy[%d]", i)
		if all >= 0 {
			r.add(key,
				`is never used: the %s policy names every cluster ("*"), and the first that names a cluster applies; `+
					`put that one last`, ordinal(all+1))
		}
		r.clusters(key+".clusters", p.Clusters)
		for _, name := range p.Members {
			if _, err := topology.ParseKey(name); err != nil {
				r.add(key+".members", "%v", err)
			}
		}
		if p.Heartbeat != "" && !tableName.MatchString(p.Heartbeat) {
			r.add(key+".heartbeat", `%q is not the name of a table: want "database.table"`, p.Heartbeat)
		}
		if all < 0 && slices.Contains(p.Clusters, "*") {
			all = i
		}
	}
}

// members are the servers that the block names; those that are no names were reported when the file was read.
func (p PolicyConfig) members() (out []topology.Key) {
	for _, name := range p.Members {
		if k, err := topology.ParseKey(name); err == nil {
			out = append(out, k)
		}
	}
	return out
}

var tableName = regexp.MustCompile(`^[0-9A-Za-z_$-]{1,64}\.[0-9A-Za-z_$-]{1,64}$`)

// clusters checks the patterns by which a block names clusters.
func (r *reader) clusters(key string, patterns []string) {
	if len(patterns) == 0 && !r.about(key) {
		r.add(key, `names no cluster; use ["*"] for every cluster`)
	}
	for _, pattern := range patterns {
		expr, isExpr := strings.CutPrefix(pattern, "~")
		switch {
		case pattern == "":
			r.add(key, "contains an empty name")
		case isExpr:
			if _, err := regexp.Compile(expr); err != nil {
				r.add(key, "%q: %v", pattern, err)
			}
		default:
			if _, err := path.Match(pattern, ""); err != nil {
				r.add(key, `%q is not a valid pattern: * matches anything, ? one character, [a-z] one of several; `+
					`write \ before a character that is meant as it is`, pattern)
			}
		}
	}
}

func ordinal(n int) string {
	if n <= 3 {
		return []string{"", "first", "second", "third"}[n]
	}
	return strconv.Itoa(n) + "th"
}

// names says whether one of the patterns matches the cluster, by its name or its alias.
func names(patterns []string, cluster, alias string) bool {
	return matches(patterns, cluster) || alias != "" && matches(patterns, alias)
}

func matches(patterns []string, cluster string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if expr, ok := strings.CutPrefix(pattern, "~"); ok {
			re, err := regexp.Compile(expr)
			return err == nil && re.MatchString(cluster)
		}
		if pattern == cluster || pattern == "*" {
			return true // path.Match stops * at a slash, and takes [::1]:3306 for a set of characters
		}
		ok, err := path.Match(pattern, cluster)
		return err == nil && ok
	})
}
