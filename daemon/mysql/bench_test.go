package mysql_test

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// BenchmarkProbe is a steady poll of a real replica on a kept connection. "cpu-µs" is the processor time of this
// process, system calls included.
func BenchmarkProbe(b *testing.B) {
	for _, f := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		b.Run(string(f), func(b *testing.B) {
			l := lab.Test(b)
			_, replicas, err := l.Cluster(b.Context(), lab.Spec{Flavor: f}, 1)
			if err != nil {
				b.Fatal(err)
			}
			s := open(b)
			k := replicas[0].Key
			if _, _, err := s.Probe(b.Context(), k); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := spent()
			for b.Loop() {
				if _, _, err := s.Probe(b.Context(), k); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((spent()-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKept is the memory of a server that is kept: its connection, and what is known of it.
func BenchmarkKept(b *testing.B) {
	l := lab.Test(b)
	_, replicas, err := l.Cluster(b.Context(), lab.Spec{Flavor: lab.MariaDB,
		ExtraArgs: []string{"--max-connections=2000"}}, 1)
	if err != nil {
		b.Fatal(err)
	}
	const servers = 500
	for b.Loop() {
		var kept []interface{ Close() error }
		before := inUse()
		for range servers {
			s := open(b)
			if _, _, err := s.Probe(b.Context(), replicas[0].Key); err != nil {
				b.Fatal(err)
			}
			if _, _, err := s.Probe(b.Context(), replicas[0].Key); err != nil {
				b.Fatal(err)
			}
			kept = append(kept, s)
		}
		b.ReportMetric(float64(inUse()-before)/servers/1024, "KB/server")
		for _, s := range kept {
			_ = s.Close()
		}
	}
}

// inUse is the heap and the stacks of goroutines.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
