package migrate

import (
	"context"
	"database/sql"
	"strings"
)

// GoFunc is a migration that is a function. On PostgreSQL it runs in the transaction that records it, so it happens once; on
// MySQL, where its own DDL would end that, it may run twice after a crash.
type GoFunc func(ctx context.Context, tx *sql.Tx) error

// GoMigration is a migration of a program, for Config.Go, where it stands under its version without leading zeros.
type GoMigration struct {
	Name string
	Up   GoFunc
	Down GoFunc // nil: there is no way back
}

// functions puts the program's migrations among those of the files.
func (t *Tree) functions(files []string, all map[string]GoMigration) error {
	for _, f := range files {
		m := goFile.FindStringSubmatch(f)
		if m == nil || t.Format != Goose || strings.HasSuffix(f, "_test.go") {
			continue
		}
		if _, ok := all[trimZeros(m[1])]; !ok {
			return usage("%s is a migration in Go, which only a program can run that has it in migrate.Config.Go under %q; nothing was run", f, trimZeros(m[1]))
		}
	}
	for version, g := range all {
		if g.Up == nil {
			return usage("the Go migration %s has no Up", version)
		}
		m := &Migration{Version: trimZeros(version), Name: g.Name, Go: g.Up, GoDown: g.Down, Up: Script{File: "Go function " + g.Name}}
		if g.Down != nil {
			m.Down = &Script{File: m.Up.File}
		}
		t.Migrations = append(t.Migrations, m)
	}
	return nil
}
