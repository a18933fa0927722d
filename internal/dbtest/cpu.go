package dbtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU is how much processor time the server's processes have used, those that ended included: what other load on the machine
// does not change much, as it does wall time. It reads /proc, to the hundredth of a second.
func (p *process) CPU() (time.Duration, error) {
	server := p.Pid()
	own, _, err := ticks(server)
	if err != nil {
		return 0, err
	}
	sum := own.self + own.waited
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if child, parent, err := ticks(pid); err == nil && parent == server { // it may have ended meanwhile
			sum += child.self
		}
	}
	return time.Duration(sum) * (time.Second / 100), nil // proc(5): in clock ticks, of which there are 100 on all that Go runs on
}

type used struct{ self, waited int64 }

// ticks reads /proc/PID/stat. The name of the program, in parentheses, may hold anything.
func ticks(pid int) (u used, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return u, 0, errors.New("/proc/PID/stat has not the fields of proc(5)")
	}
	var n [5]int64
	for i, at := range []int{1, 11, 12, 13, 14} { // parent, user, system, and both of children that were waited for
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return u, 0, err
		}
	}
	return used{n[1] + n[2], n[3] + n[4]}, int(n[0]), nil
}
