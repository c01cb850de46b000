package plan

import (
	"fmt"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// count prints a number with its noun.
func count[N int | uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// are prints a number with its noun and its verb.
func are(n uint64, noun string) string {
	if n == 1 {
		return count(n, noun) + " is"
	}
	return count(n, noun) + " are"
}

func itThem(n uint64) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// together names several servers as one subject.
func together(keys []topology.Key) string {
	if len(keys) > listed {
		return list(keys)
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.String())
	}
	return plural.And(names)
}
