package swarm

import (
	"strconv"
	"time"
)

// functions are those of servers that the daemon calls. Each evaluates its arguments itself: IF only one of two.
var functions map[string]func(s scope, args []expression) (string, error)

func init() { // and not where it is declared: IF evaluates expressions, which call functions
	functions = map[string]func(s scope, args []expression) (string, error){
		"version":       func(s scope, _ []expression) (string, error) { return versions[s.server.Flavor], nil },
		"current_user":  func(scope, []expression) (string, error) { return User + "@%", nil },
		"connection_id": func(s scope, _ []expression) (string, error) { return strconv.FormatUint(s.id, 10), nil },
		"if":            choose,
		"get_lock": func(s scope, args []expression) (string, error) {
			return withTime(s, args, s.getLock)
		},
		"release_lock": releaseLock,
		"is_used_lock": isUsedLock,
		// nothing was ever purged: the first file, at whose beginning it is asked, begins with nothing
		"binlog_gtid_pos": func(scope, []expression) (string, error) { return "", nil },
		"wait_for_executed_gtid_set": func(s scope, args []expression) (string, error) {
			return withTime(s, args, s.awaiting("1"))
		},
		"master_gtid_wait": func(s scope, args []expression) (string, error) {
			return withTime(s, args, s.awaiting("-1"))
		},
	}
}

func choose(s scope, args []expression) (string, error) {
	if len(args) != 3 {
		return "", &refusal{errSyntax, "IF takes three arguments"}
	}
	yes, err := args[0](s)
	if err != nil {
		return "", err
	}
	if yes != "0" && yes != null {
		return args[1](s)
	}
	return args[2](s)
}

// withTime evaluates a text and a number of seconds.
func withTime(s scope, args []expression, do func(string, time.Duration) (string, error)) (string, error) {
	if len(args) != 2 {
		return "", &refusal{errSyntax, "a function takes two arguments"}
	}
	text, err := args[0](s)
	if err != nil {
		return "", err
	}
	seconds, err := args[1](s)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return "", &refusal{errSyntax, err.Error()}
	}
	return do(text, time.Duration(n)*time.Second)
}

func isUsedLock(s scope, args []expression) (string, error) {
	name, err := args[0](s)
	if err != nil {
		return "", err
	}
	if holder := s.server.locks[name]; holder != nil {
		return strconv.FormatUint(holder.id, 10), nil
	}
	return null, nil
}

func releaseLock(s scope, args []expression) (string, error) {
	name, err := args[0](s)
	if err != nil {
		return "", err
	}
	switch s.server.locks[name] {
	case nil:
		return null, nil
	case s.session:
		s.server.release(name)
		return "1", nil
	}
	return "0", nil
}

// getLock waits until nobody else holds the lock.
func (s *session) getLock(name string, wait time.Duration) (string, error) {
	v := s.server
	for end := time.Now().Add(wait); ; {
		if holder := v.locks[name]; holder == nil || holder == s {
			v.locks[name] = s
			return "1", nil
		}
		left := time.Until(end)
		if left <= 0 || v.sessions[s.id] != s {
			return "0", nil
		}
		if v.released == nil {
			v.released = make(chan struct{})
		}
		s.pause(left, v.released)
	}
}

// release wakes those who wait for a lock.
func (v *Server) release(name string) {
	delete(v.locks, name)
	if v.released != nil {
		close(v.released)
		v.released = nil
	}
}

// awaiting waits until a set is executed; late is what the flavour says when it is not.
func (s *session) awaiting(late string) func(set string, wait time.Duration) (string, error) {
	return func(set string, wait time.Duration) (string, error) { return s.await(set, wait, late) }
}

func (s *session) await(set string, wait time.Duration, late string) (string, error) {
	for end := time.Now().Add(wait); ; {
		s.server.settle(time.Now())
		has, err := s.server.all().holds(set)
		switch {
		case err != nil:
			return "", &refusal{errSyntax, err.Error()}
		case has:
			return "0", nil
		case time.Now().After(end), s.server.sessions[s.id] != s:
			return late, nil
		}
		s.pause(5*time.Millisecond, nil)
	}
}
