package httpd

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// Owner is the user whose process sent a request, as the kernel knows it. That can be told of connections on this host.
func Owner(r *http.Request) (uid int, err error) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return 0, errors.New("the connection is not known")
	}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return 0, err
	}
	server, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return 0, err
	}
	first, err := socketOf(client, server)
	if err != nil {
		return 0, err
	}
	// A socket that was closed belongs to nobody, which is written as 0, as root is. It may have been closed while the
	// line was written; by now the line would say so.
	second, err := socketOf(client, server)
	if err != nil {
		return 0, err
	}
	if first != second {
		return 0, errors.New("the connection was closed")
	}
	return first.uid, nil
}

// socket is one end of a connection.
type socket struct {
	uid   int
	inode string
}

// socketOf finds the open end at an address of an established connection to another.
func socketOf(at, to netip.AddrPort) (socket, error) {
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return socket{}, err
		}
		s, ok, err := find(bufio.NewScanner(f), at, to)
		f.Close()
		if ok || err != nil {
			return s, err
		}
	}
	return socket{}, fmt.Errorf("no open connection from %v to %v is listed in /proc/net/tcp", at, to)
}

func find(lines *bufio.Scanner, at, to netip.AddrPort) (s socket, ok bool, err error) {
	const established = "01"
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != established || f[9] == "0" || plainEnd(f[1]) != unmapped(at) ||
			plainEnd(f[2]) != unmapped(to) {
			continue
		}
		uid, err := strconv.Atoi(f[7])
		return socket{uid, f[9]}, err == nil, err
	}
	return socket{}, false, lines.Err()
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// plainEnd reads an address of the table: words of 32 bits in the order of this machine's bytes, then the port.
func plainEnd(text string) netip.AddrPort {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}
	}
	for word := range slices.Chunk(raw, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	ip, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n))
}

// OwnOrRoot lets the user of this process in, and root. It returns the name of the account.
func OwnOrRoot(r *http.Request) (string, error) {
	uid, err := Owner(r)
	switch own := os.Geteuid(); {
	case err != nil:
		return "", fmt.Errorf("the daemon has no token, so it takes changes from its own user and root only; whose "+
			"this request is can't be told (%w): set http.token_file", err)
	case uid != own && uid != 0:
		return "", fmt.Errorf("the daemon has no token, so it takes changes from its own user, %s, and root only; "+
			"this is a request of %s: send it as one of them, with sudo, or set http.token_file", account(own),
			account(uid))
	}
	return account(uid), nil
}

func account(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
