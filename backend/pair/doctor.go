package pair

import (
	"fmt"
	"strconv"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Facts are the input of Doctor.
type Facts struct {
	Members  []Exam
	Database string
	Backend  string // user name of the account of the daemons
	Proxied  bool   // there is a proxy
	Proxy    []ProxyServer
	ProxyErr string
}

// Doctor reports everything about the members and the proxy that makes a pair fail. It is pure.
func Doctor(f Facts) []Complaint {
	d := &doctor{Facts: f}
	for i := range f.Members {
		if !f.Members[i].Up {
			d.say(Complaint{At: f.Members[i].Key, Code: "down", Says: "it is out of reach: " + f.Members[i].Err,
				Do: "start it, or fix the network or the account; then: orchestrator backend rejoin " +
					f.Members[i].Key.String()})
			continue
		}
		d.alone(&f.Members[i])
	}
	if len(f.Members) == 2 {
		d.together(&f.Members[0], &f.Members[1])
	}
	d.proxy()
	return d.complaints
}

type doctor struct {
	Facts
	complaints []Complaint
}

func (d *doctor) say(c Complaint) { d.complaints = append(d.complaints, c) }

// set reports a variable that can be set on a running server.
func (d *doctor) set(e *Exam, code, name, value, says, needs string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says,
		Statements: []string{fmt.Sprintf("SET GLOBAL %s = %s", name, value)},
		Config:     []string{name + " = " + strings.Trim(value, "'")}, Safe: true, Needs: needs})
}

// config reports a setting that needs a restart.
func (d *doctor) config(e *Exam, code, line, says string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says, Config: []string{line},
		Do: "write it into my.cnf, and restart the server"})
}

func (e *Exam) maria() bool { return e.Flavor == topology.MariaDB }

// v returns the first of the variables that there is.
func (e *Exam) v(names ...string) string {
	for _, n := range names {
		if v, ok := e.Vars[n]; ok {
			return v
		}
	}
	return ""
}

func (e *Exam) on(names ...string) bool { return server.On(e.v(names...)) }

func (e *Exam) dialect() server.Dialect { return server.Dialect{Flavor: e.Flavor, Version: e.Version} }

func (e *Exam) number(names ...string) int64 {
	n, _ := strconv.ParseFloat(e.v(names...), 64) // expire_logs_days has a fraction
	return int64(n)
}

func (e *Exam) has(name string) bool {
	_, ok := e.Vars[name]
	return ok
}

// first returns the name by which the server knows a variable.
func (e *Exam) first(names ...string) string {
	for _, n := range names {
		if e.has(n) {
			return n
		}
	}
	return names[0]
}

const variablesAdmin = "SYSTEM_VARIABLES_ADMIN"

// privilege is what setting such a variable needs.
func (e *Exam) privilege(maria string) string {
	if e.maria() {
		return maria
	}
	return variablesAdmin
}
