package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// at is a span in seconds, drawn as "from-to".
func at(text string) (out []span) {
	zero := time.Unix(1_700_000_000, 0)
	for _, part := range strings.Fields(text) {
		var from, to float64
		fmt.Sscanf(part, "%f-%f", &from, &to)
		out = append(out, span{zero.Add(time.Duration(from * float64(time.Second))),
			zero.Add(time.Duration(to * float64(time.Second)))})
	}
	return out
}

func TestSpans(t *testing.T) {
	for _, c := range []struct {
		name       string
		got, wants any
	}{
		{"nothing covers nothing", without(at("0-10")[0], nil), 10 * time.Second},
		{"what is covered twice counts once", without(at("0-10")[0], at("2-4 3-5")), 7 * time.Second},
		{"what reaches out counts inside only", without(at("2-8")[0], at("0-3 7-9 10-12")), 4 * time.Second},
		{"a short pause is none", fmt.Sprint(join(at("5-6 0-1 1.2-2"), 500*time.Millisecond)),
			fmt.Sprint(at("0-2 5-6"))},
		{"a span within another ends nothing", fmt.Sprint(join(at("0-9 1-2"), 0)), fmt.Sprint(at("0-9"))},
		{"one after the other is no overlap", overlap(at("0-1 4-5"), at("1-4")), time.Duration(0)},
		{"two at once", overlap(at("0-2 4-6"), at("1-5")), 2 * time.Second},
	} {
		if c.got != c.wants {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.wants)
		}
	}
}

func TestTable(t *testing.T) {
	s := time.Second
	got := table([]outcome{
		{scenario: "b", servers: "mysql", leaderless: 2 * s, acknowledged: 10, opened: 1},
		{scenario: "a", servers: "mariadb", backendless: 1500 * time.Millisecond, overlap: s, twoMembers: 2 * s},
		{scenario: "b", servers: "mysql", leaderless: 9 * s, acknowledged: 5, lost: 1, stale: 2},
		{scenario: "b", servers: "mysql", leaderless: 3 * s, worst: s, writersOut: 4 * s},
		{scenario: "b", servers: "mariadb", rows: 7},
	})
	want := `
| scenario | servers | runs | no leader, s | no declared write, s | at the worst daemon, s | writers out, s | on two members, s | replicas opened | two act at once, s | to a stale member | acknowledged | lost | rows lost |
|----------|---------|-----:|-------------:|---------------------:|-----------------------:|---------------:|------------------:|----------------:|-------------------:|------------------:|-------------:|-----:|----------:|
| b        | mariadb |    1 |            0 |                    0 |                      0 |              0 |                 0 |               0 |                  0 |                 0 |            0 |    0 |         7 |
| b        | mysql   |    3 |    3.0 / 9.0 |                0 / 0 |                0 / 1.0 |        0 / 4.0 |             0 / 0 |               1 |                  0 |                 2 |           15 |    1 |         0 |
| a        | mariadb |    1 |            0 |                  1.5 |                      0 |              0 |               2.0 |               0 |                1.0 |                 0 |            0 |    0 |         0 |
`
	if got != want[1:] {
		t.Errorf("got:\n%s\nwant:%s", got, want)
	}
}
