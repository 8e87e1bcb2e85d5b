package status

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// running tells whether the process that wrote a status file still exists.
func (a Agent) running() bool {
	if a.PID <= 0 || errors.Is(syscall.Kill(a.PID, 0), syscall.ESRCH) {
		return false
	}
	ticks, err := startTicks(a.PID)
	if errors.Is(err, errZombie) {
		return false
	}
	// Unreadable under hidepid, absent without /proc: then the PID is all there is to go by.
	return err != nil || a.StartTicks == 0 || ticks == a.StartTicks
}

var errZombie = errors.New("zombie")

// startTicks is when a process started, in clock ticks since the machine booted.
func startTicks(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

// parseStat reads proc_pid_stat(5). The name, field 2, may hold spaces and parentheses, so fields are counted from its
// last parenthesis on: the state is field 3, the start time field 22.
func parseStat(stat string) (uint64, error) {
	_, rest := cutLast(stat, ")")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/PID/stat: %d fields after the name", len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errZombie
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+len(sep):]
}
