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
)

// PolicyConfig is what may be done in some clusters.
type PolicyConfig struct {
	Clusters            []string      `toml:"clusters"`
	RecoverPrimary      bool          `toml:"recover_primary"`
	RecoverIntermediate bool          `toml:"recover_intermediate"`
	DrainTimeout        time.Duration `toml:"drain_timeout" min:"0s" max:"24h"`
	MaxLag              time.Duration `toml:"max_lag" min:"0s" max:"24h"`
	AllowReceivedLoss   bool          `toml:"allow_received_loss"`
	AllowUnfenced       bool          `toml:"allow_unfenced"`
	AllowErrant         bool          `toml:"allow_errant"`
	AntiFlap            time.Duration `toml:"anti_flap" min:"0s" max:"720h"`
}

// defaultPolicy is a [[policy]] block that says nothing but its clusters.
func defaultPolicy() PolicyConfig {
	return PolicyConfig{DrainTimeout: 10 * time.Second, AllowUnfenced: true, AntiFlap: 10 * time.Minute}
}

// Permissive is what a block allows that names every cluster and leaves all but recover_primary and recover_intermediate alone: what
// a plan is studied with where nobody has said what is allowed.
func Permissive() plan.Policy {
	p := defaultPolicy()
	p.Clusters, p.RecoverPrimary, p.RecoverIntermediate = []string{"*"}, true, true
	return Config{Policies: []PolicyConfig{p}}.Policy("", "")
}

// Policy is what the first policy that names the cluster, by its name or its alias, allows; the zero Policy, which allows nothing, when none
// does.
func (c Config) Policy(cluster, alias string) plan.Policy {
	for _, p := range c.Policies {
		if names(p.Clusters, cluster, alias) {
			return plan.Policy{
				Named:               true,
				RecoverPrimary:      p.RecoverPrimary,
				RecoverIntermediate: p.RecoverIntermediate,
				DrainTimeout:        p.DrainTimeout,
				MaxLag:              p.MaxLag,
				AllowReceivedLoss:   p.AllowReceivedLoss,
				AllowUnfenced:       p.AllowUnfenced,
				AllowErrant:         p.AllowErrant,
				AntiFlap:            p.AntiFlap,
			}
		}
	}
	return plan.Policy{}
}

func (r *reader) policies(policies []PolicyConfig) {
	all := -1 // the first policy that names every cluster
	for i, p := range policies {
		key := fmt.Sprintf("policy[%d]", i)
		if all >= 0 {
			r.add(key, `is never used: the %s policy names every cluster ("*"), and the first that names one counts; put it last`, ordinal(all+1))
		}
		r.clusters(key+".clusters", p.Clusters)
		if all < 0 && slices.Contains(p.Clusters, "*") {
			all = i
		}
	}
}

// clusters checks the patterns by which a block names clusters.
func (r *reader) clusters(key string, patterns []string) {
	if len(patterns) == 0 && !r.about(key) {
		r.add(key, `names no cluster; ["*"] is every cluster`)
	}
	for _, pattern := range patterns {
		expr, isExpr := strings.CutPrefix(pattern, "~")
		switch {
		case pattern == "":
			r.add(key, "holds an empty name")
		case isExpr:
			if _, err := regexp.Compile(expr); err != nil {
				r.add(key, "%q: %v", pattern, err)
			}
		default:
			if _, err := path.Match(pattern, ""); err != nil {
				r.add(key, `%q is no pattern; * stands for anything, ? for a letter, [a-z] for one of some; before others write \`, pattern)
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

// names says whether one of the patterns stands for the cluster, by its name or its alias.
func names(patterns []string, cluster, alias string) bool {
	return matches(patterns, cluster) || alias != "" && matches(patterns, alias)
}

func matches(patterns []string, cluster string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if expr, ok := strings.CutPrefix(pattern, "~"); ok {
			re, err := regexp.Compile(expr)
			return err == nil && re.MatchString(cluster)
		}
		if pattern == cluster || pattern == "*" { // a pattern's * stops at a slash, and [::1]:3306 is a name, not a set of letters
			return true
		}
		ok, err := path.Match(pattern, cluster)
		return err == nil && ok
	})
}
