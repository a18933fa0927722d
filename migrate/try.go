package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
)

// Trial is a test of one migration (S35): what the database is filled with before it, and what has to hold behind it.
type Trial struct {
	Version string
	// Seed writes what the migration should find, with the schema as it is before it. It may be nil.
	Seed func(ctx context.Context, db *sql.DB) error
	// Check looks at what became of it.
	Check func(ctx context.Context, db *sql.DB) error
	// Back looks at it when the migration was taken back; nil: it is not.
	Back func(ctx context.Context, db *sql.DB) error
}

// Try tries a migration on an empty database of a test: it applies all before it, seeds, applies it, and checks; then takes it back and applies it
// again, if Back says so.
func Try(ctx context.Context, db *sql.DB, fsys fs.FS, c Config, trial Trial) error {
	c.Deployed, c.AllowDataLoss = true, true
	m, err := New(db, fsys, c)
	if err != nil {
		return err
	}
	st, err := m.Status(ctx)
	if err != nil {
		return err
	}
	before := "0"
	for _, l := range st.Migrations {
		if l.Status != "pending" {
			return usage("the database has migration %s already: a migration is tried on an empty one", l.Version)
		}
	}
	s, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer s.close() // nothing is in flight any more
	id, err := s.tree.Resolve(trial.Version)
	if err != nil {
		return err
	}
	for _, one := range s.tree.Migrations {
		if one.Version == id {
			break
		}
		before = one.Version
	}
	to := func(version string) error {
		for {
			res, err := m.To(ctx, version)
			if err != nil || res.Stopped == "" {
				return err
			}
		}
	}
	if before != "0" {
		if err := to(before); err != nil {
			return err
		}
	}
	if trial.Seed != nil {
		if err := trial.Seed(ctx, db); err != nil {
			return fmt.Errorf("the seed before %s: %w", id, err)
		}
	}
	if err := to(id); err != nil {
		return err
	}
	if trial.Check != nil {
		if err := trial.Check(ctx, db); err != nil {
			return fmt.Errorf("behind %s: %w", id, err)
		}
	}
	if trial.Back == nil {
		return nil
	}
	if _, err := m.Down(ctx, 1); err != nil {
		return err
	}
	if err := trial.Back(ctx, db); err != nil {
		return fmt.Errorf("when %s was taken back: %w", id, err)
	}
	return to(id)
}
