// Goose runs a tree of goose in which the change of a large table is a migration in Go: changeling makes it, while users read and
// write, and all others run as before. It connects to $DATABASE_URL.
package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/changeling-db/changeling"
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
	tree, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	// Of several programs that start at once one works. It tries for the lock and does not wait in it, so no index build waits for it.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, tree, goose.WithSessionLocker(locker),
		goose.WithGoMigrations(goose.NewGoMigration(3, change("bigint"), change("int"))))
	if err != nil {
		return err
	}
	results, err := provider.Up(ctx)
	for _, r := range results {
		fmt.Println(r)
	}
	return err
}

// change is a step without a transaction of goose's: changeling has its own. If the program dies in it, goose runs the step again, and
// changeling goes on where it stood.
func change(to string) *goose.GoFunc {
	return &goose.GoFunc{RunDB: func(ctx context.Context, db *sql.DB) error {
		return changeling.Apply(ctx, db, "ALTER TABLE orders ALTER COLUMN amount TYPE "+to, changeling.Config{})
	}}
}
