package analysis

import (
	"testing"

	"orchestrator/daemon/topology"
)

func TestDeployment(t *testing.T) {
	b2 := topology.Key{Host: "backend2", Port: 3306}
	for _, c := range []struct {
		name string
		d    Deployment
		want []Code
	}{
		{"all is well", Deployment{}, nil},
		{"a split", Deployment{Disagree: []string{"daemon2 leads too, in term 4; this daemon leads in term 5"}},
			[]Code{DaemonsSplit}},
		{"one daemon is gone with its member", Deployment{Silent: []string{"daemon2: refused"},
			Unfit: []Unfit{{b2, "it is out of reach"}}}, []Code{DaemonSilent, BackendMemberUnfit}},
		{"no backend", Deployment{Unavailable: "no member is fit"}, []Code{BackendUnavailable}},
		{"not merged", Deployment{Differ: []string{"tag db1:3306"}}, []Code{BackendDiffers}},
		{"a full disk", Deployment{Store: []string{"its file system is full"}}, []Code{StoreFailing}},
	} {
		got := c.d.Findings()
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v", c.name, got)
			continue
		}
		for i, f := range got {
			if f.Code != c.want[i] || f.Says == "" || len(f.Evidence) == 0 {
				t.Errorf("%s: %+v; want %s with evidence", c.name, f, c.want[i])
			}
			if (f.Code == BackendMemberUnfit) != (f.At == b2) {
				t.Errorf("%s: at %v", c.name, f.At)
			}
		}
	}
}
