package migrate

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Squash puts all migrations up to a version into one file, which takes the version and says which it replaces (S38): a new database
// runs it, and one that has that version takes it as applied. It answers the file, and those that can go when no database is
// below the version any more. It refuses what has no text.
func Squash(t *Tree, version string) (file File, old []string, err error) {
	id, err := t.Resolve(version)
	if err != nil {
		return file, nil, err
	}
	if t.Format == Atlas {
		return file, nil, usage("atlas.sum has the sums of all files: squash the tree with Atlas")
	}
	begin, end := "", ""
	switch t.Format {
	case Goose:
		begin, end = "-- +goose StatementBegin\n", "\n-- +goose StatementEnd"
	case SQLMigrate:
		begin, end = "-- +migrate StatementBegin\n", "\n-- +migrate StatementEnd"
	}
	var replaces []string
	var body strings.Builder
	var last *Migration
	for _, m := range t.Migrations {
		if m.Repeatable || compare(m.Version, id) > 0 {
			continue
		}
		if m.Go != nil {
			return file, nil, usage("migration %s is a function of the program: it cannot be put into a file", m)
		}
		last = m
		replaces = append(replaces, m.Up.Replaces...)
		replaces = append(replaces, m.Version)
		if old = append(old, m.Up.File); m.Down != nil && m.Down.File != m.Up.File {
			old = append(old, m.Down.File)
		}
		fmt.Fprintf(&body, "\n-- %s\n", m)
		// Each of them stays the transaction that it was.
		if m.Up.Tx != TxNever && len(m.Up.Statements) > 1 {
			body.WriteString("BEGIN;\n")
		}
		for _, s := range m.Up.Statements {
			if s.Direct {
				body.WriteString("-- changeling: direct\n")
			}
			if s.Tables != "" {
				fmt.Fprintf(&body, "-- changeling: tables %s\n", s.Tables)
			}
			fmt.Fprintf(&body, "%s%s;%s\n", begin, s.SQL, end)
		}
		if m.Up.Tx != TxNever && len(m.Up.Statements) > 1 {
			body.WriteString("COMMIT;\n")
		}
	}
	if len(old) < 2 {
		return file, nil, usage("there is one migration up to %s: nothing is there to be squashed", id)
	}
	head := ""
	switch t.Format {
	case Goose:
		head = "-- +goose Up\n"
	case SQLMigrate:
		head = "-- +migrate Up\n"
	}
	slices.SortFunc(replaces, compare)
	head += "-- changeling: replaces " + strings.Join(slices.Compact(replaces), " ") + "\n-- changeling: transaction=never\n"
	return File{squashed(t, last), head + body.String()}, old, nil
}

// squashed is the name of the file in the place of a migration.
func squashed(t *Tree, last *Migration) string {
	dir, base := path.Split(last.Up.File)
	switch t.Format {
	case Flyway:
		v, _, _ := strings.Cut(base, "__")
		return dir + v + "__squashed.sql"
	case SQLMigrate: // the name is the version
		return last.Up.File
	case GolangMigrate:
		return dir + base[:digits(base)] + "_squashed.up.sql"
	}
	return dir + base[:digits(base)] + "_squashed.sql"
}

// replaced takes what a squashed migration stands for out of what is known. It says whether these were applied as files of their own, and
// which of them were though it was not.
func replaced[R any](m *Migration, known map[string]*R) (apart bool, stranded []string) {
	there := known[m.Version] != nil
	for _, v := range m.Up.Replaces {
		if v == m.Version || known[v] == nil {
			continue
		}
		delete(known, v)
		apart = true
		if !there {
			stranded = append(stranded, v)
		}
	}
	return apart, stranded
}
