package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the clock of leases. It goes on while the machine is suspended, as Go's own monotonic clock doesn't: a
// process that wakes up must not believe in a lease that ended meanwhile.
//
// CLOCK_BOOTTIME is Linux's. Elsewhere take a clock with the same property, such as CLOCK_MONOTONIC on macOS.
func sinceBoot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic(err) // Linux has had this clock since 2.6.39.
	}
	return time.Duration(now.Nano())
}
