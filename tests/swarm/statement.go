package swarm

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// statement does what a client asks for. It is called with Swarm.mu held; one that waits lets go of it meanwhile.
type statement func(s *session) (table, error)

func (r *refusal) Error() string { return r.says }

// errors of both flavours.
const (
	errSyntax   = 1064
	errNoThread = 1094
	errVariable = 1193
	errRunning  = 1198
	errNoMaster = 1617
)

// query answers the statements of one text; those after one that fails are not run.
func (s *session) query(q string) error {
	all, known := parsed(q, s.server.Flavor)
	if !known {
		s.server.swarm.refused(fmt.Sprintf("%s: %s", s.server.Flavor, q))
		return s.fail(refusal{errSyntax, "the swarm does not know this statement"})
	}
	if len(all) > 1 && !s.several {
		return s.fail(refusal{errSyntax, "this client did not say that it sends several statements at once"})
	}
	for n, run := range all {
		s.server.swarm.mu.Lock()
		t, err := run(s)
		s.server.swarm.mu.Unlock()
		if s.awake() != nil { // it fell silent meanwhile
			return errors.New("reset")
		}
		var r *refusal
		switch {
		case errors.As(err, &r):
			return s.fail(*r)
		case err != nil:
			return err
		}
		if err := s.answer(t, n < len(all)-1); err != nil {
			return err
		}
	}
	return nil
}

// refused counts what the swarm does not know.
func (s *Swarm) refused(what string) {
	s.logger.Error("THE SWARM DOES NOT KNOW THIS STATEMENT", "statement", what)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unknown[what]++
}

// Parsed texts are kept by flavour, those of the polls above all. There are few; those with a GTID set in them are the
// rest.
var (
	parsedMu  sync.Mutex
	parsedAll = map[topology.Flavor]map[string][]statement{topology.MariaDB: {}, topology.MySQL: {}}
)

const keptStatements = 1000

func parsed(q string, f topology.Flavor) ([]statement, bool) {
	parsedMu.Lock()
	defer parsedMu.Unlock()
	all := parsedAll[f]
	if runs, ok := all[q]; ok {
		return runs, true
	}
	var runs []statement
	for _, one := range split(q, ";") {
		run, ok := parse(strings.Join(strings.Fields(one), " "), f)
		if !ok {
			return nil, false
		}
		runs = append(runs, run)
	}
	if len(all) < keptStatements {
		all[q] = runs
	}
	return runs, true
}

// form is a kind of statement.
type form struct {
	pattern *regexp.Regexp
	make    maker
}

// maker makes a statement of the groups that the pattern has found; false when it is none that the swarm knows.
type maker func(f topology.Flavor, groups []string) (statement, bool)

func is(pattern string, make maker) form {
	return form{regexp.MustCompile(`(?is)^` + pattern + `$`), make}
}

// always is a statement without variable parts.
func always(run statement) maker {
	return func(topology.Flavor, []string) (statement, bool) { return run, true }
}

var both = []form{
	is(`SELECT .*\) AS locker`, always(nothingBars)),
	is(`SELECT (.*)`, func(f topology.Flavor, g []string) (statement, bool) { return parseSelect(g[1], f) }),
	is(`SHOW GLOBAL (VARIABLES|STATUS) WHERE VARIABLE_NAME IN \((.*)\)`, named),
	is(`SHOW GRANTS`, always(grants)),
	is(`SET (SESSION|NAMES) .*`, always(func(*session) (table, error) { return table{}, nil })),
	is(`SET GLOBAL (\w+) = (.*)`, setGlobal),
	is(`XA (START|END|PREPARE|ROLLBACK) '\w+'`, always(func(*session) (table, error) { return table{}, nil })),
	is(`KILL CONNECTION (\d+)`, killConnection),
}

// Of MySQL 9 and MariaDB 10.11. Neither understands what the other says.
var forms = map[topology.Flavor][]form{
	topology.MySQL: append([]form{
		is(`SHOW REPLICA STATUS`, always(replicaStatus)),
		is(`SHOW REPLICAS`, always(replicas)),
		is(`SHOW BINARY LOG STATUS`, always(binlogStatus)),
		is(`(STOP|START) REPLICA( IO_THREAD| SQL_THREAD)? FOR CHANNEL '(.*)'`, threads(1, 2, 3)),
		is(`RESET REPLICA ALL FOR CHANNEL '(.*)'`, resetAll),
		is(`CHANGE REPLICATION SOURCE TO (.*) FOR CHANNEL '(.*)'`, change(2, 1)),
	}, both...),
	topology.MariaDB: append([]form{
		is(`SHOW ALL SLAVES STATUS`, always(replicaStatus)),
		is(`SHOW SLAVE HOSTS`, always(replicas)),
		is(`SHOW MASTER STATUS`, always(binlogStatus)),
		is(`SHOW BINARY LOGS`, always(binaryLogs)),
		is(`(STOP|START) SLAVE '(.*)'( IO_THREAD| SQL_THREAD)?`, threads(1, 3, 2)),
		is(`RESET SLAVE '(.*)' ALL`, resetAll),
		is(`CHANGE MASTER '(.*)' TO (.*)`, change(1, 2)),
	}, both...),
}

func parse(q string, f topology.Flavor) (statement, bool) {
	for _, one := range forms[f] {
		if g := one.pattern.FindStringSubmatch(q); g != nil {
			return one.make(f, g)
		}
	}
	return nil, false
}

// nothingBars says that nobody keeps writes waiting.
func nothingBars(*session) (table, error) {
	return table{head: define([]column{{name: "locker"}}), rows: [][]string{{null}}}, nil
}

// pause lets go of the lock for a while.
func (s *session) pause(wait time.Duration, until <-chan struct{}) {
	mu := &s.server.swarm.mu
	mu.Unlock()
	defer mu.Lock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-until:
	case <-s.over:
	}
}

// channel finds one by its name.
func (s *session) channel(name string) (*channel, error) {
	for _, c := range s.server.channels {
		if c.name == name {
			return c, nil
		}
	}
	return nil, &refusal{errNoMaster, fmt.Sprintf("There is no master connection '%s'", name)}
}

// threads stops or starts the receiver, the applier, or both. It is given the groups of the verb, of what is stopped or
// started, and of the channel.
func threads(verb, which, name int) maker {
	return func(_ topology.Flavor, g []string) (statement, bool) {
		start, only := strings.EqualFold(g[verb], "START"), strings.ToUpper(strings.TrimSpace(g[which]))
		return func(s *session) (table, error) {
			c, err := s.channel(g[name])
			if err != nil {
				return table{}, err
			}
			s.server.settle(time.Now())
			switch {
			case only == "SQL_THREAD":
			case start:
				c.startReceiver()
			default:
				if wait := c.stopping(); wait > 0 {
					s.pause(wait, nil)
				}
				c.stopReceiver()
			}
			if only != "IO_THREAD" {
				c.sql = start
			}
			s.server.settle(time.Now())
			return table{}, nil
		}, true
	}
}

func resetAll(_ topology.Flavor, g []string) (statement, bool) {
	return func(s *session) (table, error) {
		c, err := s.channel(g[1])
		if err != nil {
			return table{}, err
		}
		if c.io != stopped || c.sql {
			return table{}, &refusal{errRunning, "This operation cannot be performed with a running slave"}
		}
		v := s.server
		for i := range v.channels {
			if v.channels[i] == c {
				v.channels = append(v.channels[:i:i], v.channels[i+1:]...)
				break
			}
		}
		v.changed()
		return table{}, nil
	}, true
}

var assignment = regexp.MustCompile(`(?i)^(?:MASTER|SOURCE|GET_SOURCE|GET_MASTER)_(\w+) = (.*)$`)

// change points a channel at another source. It is given the groups of the channel and of the list of what is changed.
func change(name, list int) maker {
	return func(_ topology.Flavor, g []string) (statement, bool) {
		to, ok := assignments(g[list])
		number, err := strconv.Atoi(to["PORT"])
		return func(s *session) (table, error) {
			c, err := s.channel(g[name])
			if err != nil {
				return table{}, err
			}
			if c.io != stopped || c.sql && (c.at.Flavor == topology.MariaDB || to["AUTO_POSITION"] != "") {
				return table{}, &refusal{errRunning, "This operation cannot be performed with a running slave"}
			}
			c.follow(topology.Key{Host: to["HOST"], Port: number}, to["USE_GTID"] != "" || to["AUTO_POSITION"] == "1")
			return table{}, nil
		}, ok && err == nil && to["HOST"] != ""
	}
}

// assignments reads what a CHANGE changes; false when the swarm does not know one of it.
func assignments(list string) (map[string]string, bool) {
	to := map[string]string{}
	for _, a := range split(list, ",") {
		g := assignment.FindStringSubmatch(a)
		if g == nil {
			return nil, false
		}
		switch key := strings.ToUpper(g[1]); key {
		case "HOST", "PORT", "USE_GTID", "AUTO_POSITION", "PUBLIC_KEY":
			to[key] = strings.Trim(g[2], "'")
		default:
			return nil, false
		}
	}
	return to, true
}

// setGlobal sets a variable. Semi-synchronous replication is not installed.
func setGlobal(_ topology.Flavor, g []string) (statement, bool) {
	name, value := strings.ToLower(g[1]), g[2]
	on := value == "1" || strings.EqualFold(value, "ON")
	return func(s *session) (table, error) {
		v := s.server
		v.settle(time.Now())
		switch {
		case name == "read_only":
			v.readOnly = on
			if !on {
				v.superReadOnly = false
			}
		case name == "super_read_only" && v.Flavor == topology.MySQL:
			v.superReadOnly, v.readOnly = on, v.readOnly || on
		case name == "gtid_slave_pos" && v.Flavor == topology.MariaDB:
			pos, err := parsePosition(strings.Trim(value, "'"))
			if err != nil {
				return table{}, &refusal{errSyntax, err.Error()}
			}
			v.slavePos = pos
		case name == "event_scheduler":
			v.scheduler = on
		default:
			return table{}, &refusal{errVariable, fmt.Sprintf("Unknown system variable '%s'", name)}
		}
		v.changed()
		return table{}, nil
	}, true
}

func killConnection(_ topology.Flavor, g []string) (statement, bool) {
	id, err := strconv.ParseUint(g[1], 10, 64)
	return func(s *session) (table, error) {
		victim := s.server.sessions[id]
		if victim == nil {
			return table{}, &refusal{errNoThread, fmt.Sprintf("Unknown thread id: %d", id)}
		}
		victim.reset()
		return table{}, nil
	}, err == nil
}
