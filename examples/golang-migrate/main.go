// Golang-migrate runs a tree of golang-migrate through a database.Driver that gives each ALTER TABLE to changeling, which makes it
// while users read and write. All else is the tool's own driver. It connects to $DATABASE_URL.
package main

import (
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/changeling-db/changeling"
)

//go:embed migrations/*.sql
var files embed.FS

func main() {
	if err := run(os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(dsn string) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	driver, err := newDriver(db, changeling.Config{})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	tree, err := iofs.New(files, "migrations")
	if err != nil {
		return errors.Join(err, driver.Close())
	}
	m, err := migrate.NewWithInstance("iofs", tree, "changeling", driver)
	if err != nil {
		return errors.Join(err, driver.Close())
	}
	err = m.Up()
	if errors.Is(err, migrate.ErrNoChange) {
		err = nil
	}
	version, dirty, versionErr := m.Version()
	fmt.Printf("version %d, dirty %t\n", version, dirty)
	sourceErr, closeErr := m.Close()
	return errors.Join(err, versionErr, sourceErr, closeErr)
}
