package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notify tells the service manager how the daemon is doing, if one listens: see sd_notify(3). Anything but systemd
// leaves NOTIFY_SOCKET unset, and nothing happens.
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// "@name", the abstract kind, is understood
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager %q: %w", state, err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("tell the service manager %q: %w", state, err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager %q: %w", state, err)
	}
	return nil
}

// reloading is what to tell when a configuration is about to be read. The time is for managers that wait for it
// (Type=notify-reload).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// watchdog is how often the service manager wants to hear that the daemon is alive; 0 when it doesn't. Half of its
// patience, so that one late word is not taken for silence.
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
