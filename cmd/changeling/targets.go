package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/changeling-db/changeling"
)

// target is one of several databases that get the same tree.
type target struct{ name, dsn string }

// readTargets reads a file with a name and a connection string in each line, in the order in which they are done: the first is the one
// that is tried before all others.
func readTargets(path string) (out []target, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("the file of --targets cannot be read: %v", err)
	}
	defer f.Close() // it was only read
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, dsn, ok := strings.Cut(line, " ")
		if dsn = strings.TrimSpace(dsn); !ok || dsn == "" || strings.Contains(name, "=") || strings.Contains(name, "://") || seen[name] {
			return nil, usage("%s:%d: expected a name that no other target has, a blank, and a connection string", path, n)
		}
		seen[name] = true
		out = append(out, target{name, dsn})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, usage("%s names no target: expected a name and a connection string in each line", path)
	}
	return out, nil
}

// onTargets does something on each target, one after the other, and stops at the first that fails: nothing is begun on those behind it.
func (a *app) onTargets(all []target, do func() error) error {
	dsn, binlog, env := a.dsn, a.binlog, a.env
	defer func() { a.dsn, a.binlog, a.env = dsn, binlog, env }()
	for i, t := range all {
		a.dsn, a.binlog = "", binlog
		a.env = func(name string) string {
			if name == "CHANGELING_DSN" {
				return t.dsn
			}
			return env(name)
		}
		a.printf("== %s\n", clean(t.name))
		err := do()
		if err == nil {
			continue
		}
		var rest []string
		for _, later := range all[i+1:] {
			rest = append(rest, later.name)
		}
		if len(rest) > 0 {
			fmt.Fprintf(a.err, "changeling: target %s ended with exit code %d; nothing was begun on %s. Run the same command again when it is mended: those that are done have nothing to do\n", clean(t.name), changeling.Code(err), clean(strings.Join(rest, ", ")))
		}
		return err
	}
	return nil
}
