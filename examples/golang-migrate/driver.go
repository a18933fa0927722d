package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/database/pgx/v5"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/plan"
)

// driver is the tool's driver for PostgreSQL with another way to run a file and to lock.
//
// A file that dies in the middle leaves the tool's dirty mark, as always. After `force` to the version before, the same file goes on:
// changeling finds a change that was begun, and does nothing for one that is done.
type driver struct {
	database.Driver
	db     *sql.DB
	lock   *sql.Conn
	config changeling.Config
}

func newDriver(db *sql.DB, c changeling.Config) (*driver, error) {
	inner, err := pgx.WithInstance(db, &pgx.Config{})
	if err != nil {
		return nil, err
	}
	return &driver{Driver: inner, db: db, config: c}, nil
}

// Run gives each ALTER TABLE of a file to changeling, and what stands between them to the tool's driver, which runs it as one
// transaction.
func (d *driver) Run(file io.Reader) error {
	body, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	statements, err := plan.Split(string(body), plan.PostgresSyntax())
	if err != nil {
		return err
	}
	var between []string
	flush := func() error {
		if len(between) == 0 {
			return nil
		}
		text := strings.Join(between, ";\n")
		between = nil
		return d.Driver.Run(strings.NewReader(text))
	}
	for _, text := range statements {
		s, err := plan.Parse(text, plan.PostgresSyntax())
		if err != nil || s.Verb != "ALTER TABLE" {
			between = append(between, text)
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		// The tool's drivers get no context.
		if err := changeling.Apply(context.Background(), d.db, text, d.config); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return flush()
}

// lockID is the same for all programs that migrate this database.
const lockID = 4_201_726

// Lock tries for the lock until it has it: whoever waits inside pg_advisory_lock has a snapshot open, and an index that is built
// without locks would wait for him.
func (d *driver) Lock() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if d.lock, err = d.db.Conn(ctx); err != nil {
		return err
	}
	for {
		var got bool
		if err := d.lock.QueryRowContext(ctx, "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", lockID).Scan(&got); err != nil || got {
			return err
		}
		select {
		case <-ctx.Done():
			return database.ErrLocked
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Unlock lets the next one in.
func (d *driver) Unlock() error {
	if d.lock == nil {
		return database.ErrNotLocked
	}
	defer func() { d.lock = nil }()
	if _, err := d.lock.ExecContext(context.Background(), "SELECT pg_catalog.pg_advisory_unlock($1::bigint)", lockID); err != nil {
		return err
	}
	return d.lock.Close()
}
