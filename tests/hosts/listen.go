package hosts

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Listen serves the hosts from Gateway, or from another address of the bridge. What is accepted may be used on any
// thread.
func (n *Network) Listen(address string) (net.Listener, error) {
	type answer struct {
		l   net.Listener
		err error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in Dial
		ns, err := os.Open("/run/netns/" + n.id)
		if err != nil {
			done <- answer{nil, err}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- answer{nil, err}
			return
		}
		l, err := net.Listen("tcp", address)
		done <- answer{l, err}
	}()
	a := <-done
	return a.l, a.err
}
