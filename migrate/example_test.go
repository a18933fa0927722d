package migrate_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"testing/fstest"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/migrate"
)

// An application brings its database up when it starts. Any number of instances may: one works, the others wait for it.
func ExampleMigrator_Up() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	files := fstest.MapFS{ // mostly an embed.FS
		"1_users.sql":  {Data: []byte("CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL);")},
		"2_emails.sql": {Data: []byte("CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);")},
	}
	m, err := migrate.New(db, files, migrate.Config{
		Go: map[string]migrate.GoMigration{"3": {Name: "root", Up: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO users VALUES (1, 'root@example.org')")
			return err
		}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := m.Plan(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range plan {
		fmt.Println(p.Version, p.Name, p.Steps[0].How)
	}
	for range 2 {
		res, err := m.Up(ctx, "")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(res.Applied), "applied")
	}
	fmt.Println(m.Require(ctx, "3"))
	// Output:
	// 1 users transaction
	// 2 emails alone
	// 3 root function
	// 3 applied
	// 0 applied
	// <nil>
}

// exampleDatabase is a throwaway server; an application has its own.
func exampleDatabase(ctx context.Context) (*sql.DB, func()) {
	server, err := dbtest.Start(ctx, dbtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open("pgx", server.DSN("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		server.Stop()
	}
}
