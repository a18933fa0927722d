package migrate

import (
	"path"
	"strconv"
	"strings"
	"time"
)

// Rename is a file of a tree that gets another name.
type Rename struct{ From, To string }

// Rebase moves a migration behind all others, as after a merge in which some came that are newer: it answers which files get which
// names. It must not have run anywhere, since its version is a new one.
func Rebase(t *Tree, version string, now time.Time) ([]Rename, error) {
	id, err := t.Resolve(version)
	if err != nil {
		return nil, err
	}
	m := t.Find(id)
	switch {
	case m == nil:
		return nil, usage("there is no migration yet")
	case t.Format == Atlas:
		return nil, usage("atlas.sum has the sums of all files in their order: `atlas migrate rebase` moves %s", m)
	case m.Go != nil || m.GoDown != nil:
		return nil, usage("migration %s is a function of the program: give it another version there", m)
	case id == t.Head():
		return nil, usage("migration %s is the newest one already", m)
	}
	next := now.UTC().Format("20060102150405")
	head := t.Head()
	if t.Format == SQLMigrate {
		head = head[:digits(head)]
	}
	if n, err := strconv.ParseInt(strings.SplitN(head, ".", 2)[0], 10, 64); err == nil && n < 19000101 {
		next = strconv.FormatInt(n+1, 10)
	} else if compare(next, head) <= 0 && err == nil {
		next = strconv.FormatInt(n+1, 10) // it was written with a clock that is ahead
	}
	files := []string{m.Up.File}
	if m.Down != nil && m.Down.File != m.Up.File {
		files = append(files, m.Down.File)
	}
	var out []Rename
	for _, f := range files {
		dir, base := path.Split(f)
		letter := ""
		if t.Format == Flyway {
			letter, base = base[:1], base[1:]
		}
		old, _, _ := strings.Cut(base, "__")
		if t.Format != Flyway {
			old = base[:digits(base)]
		}
		padded := next
		for len(padded) < len(old) && strings.HasPrefix(old, "0") {
			padded = "0" + padded
		}
		out = append(out, Rename{f, dir + letter + padded + base[len(old):]})
	}
	return out, nil
}
