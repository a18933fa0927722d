// Sql-migrate runs a tree of sql-migrate in which changeling makes the steps that consist of ALTER TABLE, while users read and write.
// The tool runs and records all others, and records these too. It connects to $DATABASE_URL.
package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/jackc/pgx/v5/stdlib"
	migrate "github.com/rubenv/sql-migrate"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/plan"
)

//go:embed migrations/*.sql
var files embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dsn string) (err error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tree := &migrate.EmbedFileSystemMigrationSource{FileSystem: files, Root: "migrations"}
	pending, _, err := migrate.PlanMigration(db, "postgres", tree, migrate.Up, 0)
	if err != nil {
		return err
	}
	for _, m := range pending {
		if err := step(ctx, db, tree, m); err != nil {
			return fmt.Errorf("%s: %w", m.Id, err)
		}
		fmt.Println("applied", m.Id)
	}
	return nil
}

// step does the first migration that is pending. If the program dies between changeling and the record, it comes again, and changeling
// does nothing for what is done.
func step(ctx context.Context, db *sql.DB, tree migrate.MigrationSource, m *migrate.PlannedMigration) error {
	if !reshapes(m.Queries) {
		_, err := migrate.ExecMaxContext(ctx, db, "postgres", tree, migrate.Up, 1)
		return err
	}
	for _, statement := range m.Queries {
		if err := changeling.Apply(ctx, db, statement, changeling.Config{}); err != nil {
			return err
		}
	}
	_, err := migrate.SkipMax(db, "postgres", tree, migrate.Up, 1)
	return err
}

// reshapes says that all statements of a step are ALTER TABLE.
func reshapes(statements []string) bool {
	for _, text := range statements {
		if s, err := plan.Parse(text, plan.PostgresSyntax()); err != nil || s.Verb != "ALTER TABLE" {
			return false
		}
	}
	return len(statements) > 0
}
