package mysql

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// readRegistered lists the replicas at the addresses that they report, and counts who reads the binary log. A replica
// that reports only its port is looked for where the binary log dump threads' clients come from, where that leaves no
// doubt.
func (n *known) readRegistered(ctx context.Context, c *server.Conn, rows []server.Row) error {
	i := &n.instance
	found, ports, others := map[topology.Key]bool{}, map[int]bool{}, 0
	for _, r := range rows {
		host, port := r.Get("host"), int(r.Uint("port"))
		switch k, err := topology.MakeKey(host, port); {
		case port == 0, noServer(r, c.Dialect): // a reader of binary logs that is no server
			others++
		case host == "":
			ports[port] = true
		case err != nil:
			i.Unusable = append(i.Unusable, fmt.Sprintf("a replica with server_id %s that registered as %q, port %d",
				r.Get("server_id"), host, port))
		default:
			found[k] = true
		}
	}
	if len(ports) > 0 {
		hosts, err := n.dumpHosts(ctx, c)
		if err != nil {
			return err
		}
		if len(ports) == 1 || len(hosts) == 1 {
			for port := range ports {
				for host := range hosts {
					found[topology.Key{Host: host, Port: port}] = true
				}
			}
		}
	}
	i.Registered = slices.SortedFunc(maps.Keys(found), topology.Key.Compare)
	n.noServers = others
	n.countReaders()
	return nil
}

// countReaders counts those that read the binary log, and did not say themselves that they are no servers.
func (n *known) countReaders() {
	n.instance.Readers = 0
	if len(n.dumps) == looks {
		n.instance.Readers = max(0, slices.Min(n.dumps)-n.noServers)
	}
}

// noServer says that who registered is no server: those of MySQL tell their UUID.
func noServer(r server.Row, d server.Dialect) bool {
	return !d.MariaDB() && r.Get("replica_uuid", "slave_uuid") == "" && (r.Has("replica_uuid") || r.Has("slave_uuid"))
}

// dumpHosts are the hosts that read the binary log.
func (n *known) dumpHosts(ctx context.Context, c *server.Conn) (map[string]bool, error) {
	rows, err := c.Query(ctx, n.questions.dumpClients)
	if err != nil {
		return nil, err
	}
	hosts := map[string]bool{}
	for _, r := range rows {
		if host := clientHost(r.Get("host")); host != "" {
			hosts[host] = true
		}
	}
	return hosts, nil
}

// clientHost is the host in what a process list says of a client: with its port or without, an IPv6 address in
// brackets or not; "" where that is none. What can be read as an IPv6 address with a port behind it is that: a client
// that has an address has a port.
func clientHost(text string) string {
	host := text
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		_, whole := netip.ParseAddr(text)
		_, before := netip.ParseAddr(text[:at])
		if whole != nil || before == nil {
			host = text[:at]
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	k, err := topology.MakeKey(host, topology.DefaultPort)
	if err != nil {
		return ""
	}
	return k.Host
}
