package drawing

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func TestDecode(t *testing.T) {
	s, err := Decode([]byte("\xef\xbb\xbf  " + `{"at":"2026-01-01T00:00:10Z",` +
		`"servers":[{"key":"db2","probe":{}},{"key":"DB1:3306","probe":{}}]}` + "\n"))
	if err != nil || len(s.Servers) != 2 || s.Servers[0].Key != (topology.Key{Host: "db1", Port: 3306}) {
		t.Errorf("unsorted servers: %+v, %v", s, err)
	}
	s, err = Decode([]byte("\n# a drawing\ndb1\n  db2\n"))
	if err != nil || len(s.Servers) != 2 {
		t.Errorf("a drawing: %+v, %v", s, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	in := func(server string) string {
		return `{"at":"2026-01-01T00:00:10Z",` + "\n" + `"servers":[{"key":"db1","probe":{},` + server + `}]}`
	}
	instance := func(rest string) string {
		return in(`"instance":{"flavor":"mysql","version":"8.4.0","executed":""` + rest + `}`)
	}
	for text, want := range map[string]string{
		"":                        "it is empty",
		" \n":                     "it is empty",
		"\x00\x01\xff":            "it is not text",
		"db1 dwn":                 `as a drawing (JSON would begin with '{'): line 1: db1: "dwn" is no attribute`,
		"[]":                      "as a drawing",
		"{":                       "ends in the middle",
		"{\n\"at\" 5}":            "line 2: invalid character",
		"{} {}":                   "something follows the snapshot",
		"{}":                      `"at", the moment of the snapshot, is missing`,
		`{"at":"noon"}`:           `cannot parse "noon"`,
		`{"servers":{}}`:          `"servers": found object, want a list`,
		in(`"cluster":5`):         `line 2: "servers.cluster": found number, want a string`,
		in(`"clutser":"x"`):       `line 2: unknown field "clutser"; the nearest is "cluster"`,
		in(`"key":"db1:x"`):       "port must be a number",
		in(`"key":""`):            `a server has no "key"`,
		in(`"key":"//db1"`):       "only a source can be detached",
		in(`"x":1},{"key":"db1"`): `unknown field "x"`,
		in(`"cluster":"a"},{"key":"db1","probe":{}`):      "db1:3306 is there twice",
		in(`"promotion_rule":"never"`):                    `promotion_rule "never": want prefer`,
		in(`"probe":{"failure":"sad"}`):                   `failure "sad": want refused|`,
		in(`"names":[""]`):                                "names: one of them is empty",
		in(`"instance":{"flavor":"","version":"8.4.0"}`):  `flavor "": want mysql or mariadb`,
		in(`"instance":{"flavor":"mysql","version":"8"}`): "want major.minor.patch",
		instance(`,"executed":"x"`):                       "GTID",
		instance(`,"executed":"0-1-5"`):                   "a mysql server with GTIDs of the other flavour",
		instance(`,"flavor":"mariadb","executed":"aaaaaaaa-1111-1111-1111-111111111111:1"`): "a mariadb server with " +
			"GTIDs of the other flavour",
		instance(`,"registered":[""]`):                     "registered: one of them is empty",
		instance(`,"stalled":{"cause":"x"}`):               `cause "x": want disk_full`,
		instance(`,"channels":[{"io":"yes","sql":"yes"}]`): `a channel has no "source"`,
		instance(`,"channels":[{"source":"a","io":"Yes","sql":"yes"}]`): `io "Yes" and sql "yes": ` +
			"want yes, no or connecting",
		instance(`,"log_bin":"yes"`):                                     "want true or false",
		instance(`,"semi_sync":[]`):                                      "want an object",
		instance(`,"server_id":-1`):                                      "want a number (uint32)",
		`{"at":"2026-01-01T00:00:10Z","promoted":{"a":""},"servers":[]}`: `cluster "a" has no key`,
	} {
		s, err := Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "read snapshot") {
			t.Errorf("%s\n→ %+v, %v\nwant an error with %s", text, s, err, want)
		}
	}
}

func TestSavedIsDecoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySaved(t)
		data := asJSON(s)
		back, err := Decode([]byte(data))
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if again := asJSON(back); again != data {
			t.Fatalf("%s\nis read back as\n%s", data, again)
		}
	})
}

// TestDocs holds docs/snapshot.md and docs/snapshot.schema.json to the types.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/snapshot.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for n, part := range strings.Split(string(page), "```") {
		kind, text, _ := strings.Cut(part, "\n")
		if n%2 == 0 || kind != "json" && kind != "text" {
			continue
		}
		examples++
		if s, err := Decode([]byte(text)); err != nil || len(s.Servers) < 2 {
			t.Errorf("example: %v\n%s", err, text)
		}
	}
	if examples < 2 {
		t.Errorf("%d examples", examples)
	}
	for i := range attributes {
		if name := attributes[i].name; !strings.Contains(string(page), "`"+name+"=") {
			t.Errorf("docs/snapshot.md does not tell of %s=", name)
		}
	}
	for word := range short {
		if !strings.Contains(string(page), "`"+word+"`") {
			t.Errorf("docs/snapshot.md does not tell of %s", word)
		}
	}

	data, err := os.ReadFile("../../docs/snapshot.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]any            `json:"properties"`
		Defs       map[string]map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for _, k := range statementKinds {
		if !strings.Contains(string(page), "| `"+k.word) {
			t.Errorf("docs/snapshot.md does not tell of lines that begin with %s", k.word)
		}
	}
	for _, name := range slices.Concat(names(thresholdFields), names(policyFields), names(requestFields),
		names(episodeFields),
		names(claimFields), names(peerFields)) {
		if !strings.Contains(string(page), "`"+name+"=") && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/snapshot.md does not tell of %s", name)
		}
	}
	for name, v := range map[string]any{
		"": Saved{}, "server": topology.Server{}, "probe": topology.Probe{}, "instance": topology.Instance{},
		"channel":   topology.Channel{},
		"semi_sync": topology.SemiSync{}, "stalled": topology.Stall{}, "downtime": topology.Downtime{},
		"departure":  topology.Departure{},
		"stranger":   topology.Stranger{},
		"events_off": plan.EventsOff{}, "unreached": plan.Unreached{},
		"ungranted":  topology.Ungranted{},
		"thresholds": analysis.Thresholds{}, "cluster": Cluster{}, "policy": plan.Policy{}, "request": plan.Request{},
		"episode": plan.Episode{}, "lost": plan.Lost{}, "acknowledgement": plan.Acknowledgement{},
		"claim": plan.Claim{},
		"locks": plan.Locks{}, "peer": plan.Peer{}, "status": plan.PeerStatus{},
	} {
		properties := schema.Properties
		if name != "" {
			properties, _ = schema.Defs[name]["properties"].(map[string]any)
		}
		fields := map[string]bool{}
		for _, field := range jsonFields(reflect.TypeOf(v)) {
			fields[field] = true
			if properties[field] == nil {
				t.Errorf("the schema of %q lacks %q", name, field)
			}
		}
		for p := range properties {
			if !fields[p] {
				t.Errorf("the schema of %q has %q, which there is not", name, p)
			}
		}
	}
}

func names[T any](fields []field[T]) (out []string) {
	for _, f := range fields {
		out = append(out, f.name)
	}
	return out
}

// jsonFields are the names of the fields as JSON has them; "-" has none, and what is embedded without a name has its
// own.
func jsonFields(of reflect.Type) (out []string) {
	for f := range of.Fields() {
		field, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case field == "" && f.Anonymous:
			out = append(out, jsonFields(f.Type)...)
		case field != "-":
			out = append(out, field)
		}
	}
	return out
}

func FuzzDecode(f *testing.F) {
	for _, text := range []string{"db1 down promoted\n  db2 recv=1-120 downtime tag=a:b\nm mariadb=10.11.6 " +
		"stalled=commit", rich} {
		s, err := Parse(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(asJSON(s)))
		f.Add([]byte(text))
	}
	f.Add([]byte("db1\n  db2"))
	f.Add([]byte("\r#"))
	f.Add([]byte(`{"at":"2026-01-01T00:00:10Z","servers":[{"key":"db1","probe":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			return
		}
		s.Primary()
		s.Name(nil)
		if out, err := json.Marshal(s); err == nil && data[0] == '{' {
			if _, err := Decode(out); err != nil {
				t.Fatalf("%q is written as %s, which can't be read: %v", data, out, err)
			}
		}
		for _, c := range s.ByCluster {
			for _, e := range c.Episodes {
				if e.Check() != nil { // it can be looked at, and not be written by hand
					return
				}
			}
		}
		text := Print(s)
		back, err := Parse(text)
		if err != nil || len(back.Servers) != len(s.Servers) {
			t.Fatalf("%q is drawn as\n%s\n%v", data, text, err)
		}
		text = Print(back) // servers of no cluster have one now
		if back, err = Parse(text); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if again := Print(back); again != text {
			t.Fatalf("drawn\n%s\nand again\n%s", text, again)
		}
	})
}
