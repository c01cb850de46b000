package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notify reports the state of the daemon to the service manager, if there is one: see sd_notify(3). Only systemd sets
// NOTIFY_SOCKET; without it, nothing happens.
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// DialUnix understands "@name", an abstract socket
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager of %q: %w", state, err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("notify the service manager of %q: %w", state, err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify the service manager of %q: %w", state, err)
	}
	return nil
}

// reloading is the state to report before a configuration is read. A manager that waits for the reload needs the time
// (Type=notify-reload).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// watchdog returns how often to tell the service manager that the daemon is alive, or 0 if it doesn't ask for that. It
// is half of the manager's time limit, so that one late message does no harm.
func watchdog(get func(string) string) time.Duration {
	patience, err := strconv.ParseInt(get("WATCHDOG_USEC"), 10, 64)
	if err != nil || patience <= 0 {
		return 0
	}
	if pid := get("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // meant for the process that started us
	}
	return time.Duration(patience) * time.Microsecond / 2
}
