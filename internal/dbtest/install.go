package dbtest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// debian is where the packages postgresql-NN of Debian and Ubuntu put a major version.
const debian = "/usr/lib/postgresql"

// install is one installed major version of PostgreSQL.
type install struct {
	major     int
	root      string // holds bin/
	libraries string // directory of shared libraries that the programs bring along; empty for packages of the system
}

func (in install) program(name string) string { return filepath.Join(in.root, "bin", name) }

// Available returns the major versions that Start finds on this machine, in order.
//
// It looks in /usr/lib/postgresql/<major>, then for postgres-<major> in the cache directories, which scripts/setup.sh
// fills. $CHANGELING_CACHE, if set, is the only one; else they are /var/cache/changeling, which any user can read, and
// changeling in $XDG_CACHE_HOME or ~/.cache. A link in one of them makes a server known that lies elsewhere.
func Available() []int {
	var majors []int
	for _, in := range installs() {
		majors = append(majors, in.major)
	}
	return slices.Compact(majors)
}

// installs returns all installs by major version, those of the system first.
func installs() []install {
	var all []install
	add := func(root, major string, cached bool) {
		n, err := strconv.Atoi(major)
		if err != nil {
			return
		}
		in := install{major: n, root: root}
		if cached {
			in.libraries = filepath.Join(root, "lib")
		}
		for _, program := range []string{"initdb", "postgres"} {
			if _, err := os.Stat(in.program(program)); err != nil {
				return
			}
		}
		all = append(all, in)
	}
	dirs, _ := filepath.Glob(filepath.Join(debian, "*")) // the only error is a bad pattern
	for _, dir := range dirs {
		add(dir, filepath.Base(dir), false)
	}
	for _, cache := range caches() {
		dirs, _ := filepath.Glob(filepath.Join(cache, "postgres-*"))
		for _, dir := range dirs {
			add(dir, strings.TrimPrefix(filepath.Base(dir), "postgres-"), true)
		}
	}
	slices.SortStableFunc(all, func(a, b install) int { return cmp.Compare(a.major, b.major) })
	return all
}

// caches returns the cache directories in the order in which they are searched. scripts/setup.sh has the same list.
func caches() []string {
	if dir := os.Getenv("CHANGELING_CACHE"); dir != "" {
		return []string{dir}
	}
	dirs := []string{"/var/cache/changeling"}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return append(dirs, filepath.Join(dir, "changeling"))
	}
	if home := os.Getenv("HOME"); home != "" {
		return append(dirs, filepath.Join(home, ".cache", "changeling"))
	}
	return dirs
}

// find returns an install of the major version that the account can run.
func find(major int, as *account) (install, error) {
	var unreachable string
	for _, in := range installs() {
		if in.major != major {
			continue
		}
		if as.reaches(filepath.Join(in.root, "bin")) {
			return in, nil
		}
		unreachable = in.root
	}
	if unreachable != "" {
		return install{}, fmt.Errorf("PostgreSQL %d lies in %s, which the user %s cannot enter; "+
			"PostgreSQL does not run as root: set CHANGELING_CACHE to a directory that every user can read", major, unreachable, as.name)
	}
	return install{}, fmt.Errorf("no PostgreSQL %d in %s nor as postgres-%d in %s: "+
		"run scripts/setup.sh all in a checkout, or install the package postgresql-%d",
		major, debian, major, strings.Join(caches(), ", "), major)
}

// client returns the path of a client program for a server, as Server.Bin promises.
func client(server install, name string) string {
	all := installs()
	candidates := []install{server}
	for _, in := range all {
		if in.major >= server.major {
			candidates = append(candidates, in)
		}
	}
	if !strings.HasPrefix(name, "pg_") { // pg_dump, pg_dumpall, pg_basebackup and the like refuse a newer server
		for _, in := range slices.Backward(all) {
			if in.major < server.major {
				candidates = append(candidates, in)
			}
		}
	}
	for _, in := range candidates {
		if _, err := os.Stat(in.program(name)); err == nil {
			return in.program(name)
		}
	}
	return ""
}
