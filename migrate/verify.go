package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
)

// DriftError is an object that the live schema and the files do not agree on.
type DriftError struct {
	Missing []string // what the files make and the database has not
	Extra   []string // what the database has and no file makes
}

func (e *DriftError) Error() string {
	text := "the live schema is not what the files say:"
	for _, l := range e.Missing {
		text += "\n  - missing: " + shorten(l, 200)
	}
	for _, l := range e.Extra {
		text += "\n  - not in the files: " + shorten(l, 200)
	}
	return text
}

// Verify compares the live schema with what the files make on an empty database, up to the version that the live one is at.
// scratch is a pool for such a database on a server of the same kind; it is filled. A difference is an error of kind
// ErrDrifted that holds a *DriftError.
func (m *Migrator) Verify(ctx context.Context, scratch *sql.DB) (err error) {
	defer func() { err = errors.Join(err, m.erase(ctx, scratch)) }()
	st, err := m.Status(ctx)
	if err != nil {
		return err
	}
	if st.State != StateCurrent && st.State != StateBehind {
		return st.Err()
	}
	want, err := m.built(ctx, m.fsys, scratch, st.Current)
	if err != nil {
		return err
	}
	have, err := describe(ctx, m.db)
	if err != nil {
		return err
	}
	if e := differ(have, want); e != nil {
		return &fault.Problem{Kind: fault.Drifted, Err: e, Text: e.Error()}
	}
	return nil
}

// built is the schema that the files make on an empty database. version may be empty: then they make nothing.
func (m *Migrator) built(ctx context.Context, fsys fs.FS, scratch *sql.DB, version string) ([]string, error) {
	if err := m.replay(ctx, fsys, scratch, version); err != nil {
		return nil, err
	}
	return describe(ctx, scratch)
}

// replay brings a scratch database to a version.
func (m *Migrator) replay(ctx context.Context, fsys fs.FS, scratch *sql.DB, version string) error {
	if version == "" {
		return nil
	}
	c := m.config
	c.Direct, c.Detach, c.Adopt = true, false, false
	other, err := New(scratch, fsys, c)
	if err != nil {
		return err
	}
	// Required stops are for what runs beside the database; nothing does here.
	for {
		res, err := other.Up(ctx, version)
		if err != nil {
			return err
		}
		if res.Stopped == "" {
			return nil
		}
	}
}

// Validate replays the way of a database that stopped at an earlier tree, as it was released, to the tree of now, on an empty
// scratch database, which is filled. An error names the statement that such a database would fail at (O1). A nil from is the
// empty tree: all migrations are replayed.
func (m *Migrator) Validate(ctx context.Context, from fs.FS, scratch *sql.DB) (err error) {
	defer func() { err = errors.Join(err, m.erase(ctx, scratch)) }()
	if from != nil {
		if err := m.replay(ctx, from, scratch, "head"); err != nil {
			return fmt.Errorf("the earlier tree itself cannot be replayed: %w", err)
		}
	}
	return m.replay(ctx, m.fsys, scratch, "head")
}

// erase forgets what was replayed: on MySQL the history of all databases is in the same tables.
func (m *Migrator) erase(ctx context.Context, scratch *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	other, err := New(scratch, fstest.MapFS{}, Config{Name: m.config.Name})
	if err != nil {
		return err
	}
	s, err := other.open(ctx)
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	if there, err := s.store.Exists(ctx); err != nil || !there {
		return err
	}
	return s.store.Erase(ctx)
}

// describe is the schema of a database without its own name in it, and without the version tables of other tools.
func describe(ctx context.Context, db *sql.DB) ([]string, error) {
	sv, pool, err := detect(ctx, db)
	if err != nil {
		return nil, err
	}
	if pool != db {
		defer pool.Close() // nothing is in flight any more
	}
	var scope string
	if err := pool.QueryRowContext(ctx, sv.text.Scope).Scan(&scope); err != nil {
		return nil, err
	}
	lines, err := journal.Describe(ctx, pool, sv.text)
	if err != nil {
		return nil, err
	}
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(foreigners(), func(f foreign) bool { return strings.Contains(line, f.table) })
	})
	if scope != "" {
		for i, l := range lines {
			lines[i] = strings.ReplaceAll(l, "`"+scope+"`.", "")
		}
	}
	return lines, nil
}

// differ is nil where both lists have the same lines.
func differ(have, want []string) *DriftError {
	var e DriftError
	count := map[string]int{}
	for _, l := range have {
		count[l]++
	}
	for _, l := range want {
		if count[l]--; count[l] < 0 {
			e.Missing = append(e.Missing, l)
		}
	}
	for _, l := range have {
		if count[l] > 0 {
			count[l]--
			e.Extra = append(e.Extra, l)
		}
	}
	if len(e.Missing)+len(e.Extra) == 0 {
		return nil
	}
	return &e
}
