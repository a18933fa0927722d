package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
)

// A migration step calls Apply. It may be run again: what is done is not done twice.
func ExampleApply() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	const ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
	for range 2 {
		if err := changeling.Apply(ctx, db, ddl, changeling.Config{}); err != nil {
			log.Fatal(err)
		}
	}
	var typ string
	if err := db.QueryRowContext(ctx, `SELECT pg_typeof(amount) FROM orders LIMIT 1`).Scan(&typ); err != nil {
		log.Fatal(err)
	}
	fmt.Println(typ)
	// Output: bigint
}

// Who wants to see what would happen asks for the plan first.
func ExampleEngine_Plan() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	e, err := changeling.Open(ctx, db, changeling.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	for _, ddl := range []string{
		`ALTER TABLE orders ADD COLUMN note text`,
		`ALTER TABLE orders ALTER COLUMN amount TYPE bigint`,
	} {
		p, err := e.Plan(ctx, ddl)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Route)
		for _, s := range p.Steps {
			if s.Lock != "" {
				fmt.Printf("  %s: %s, waits %s at most\n", s.Name, s.Lock, s.LockWait)
			}
		}
	}
	// Output:
	// direct
	//   alter: ACCESS EXCLUSIVE, waits 200ms at most
	// shadow-table
	//   create shadow: ACCESS SHARE, waits 200ms at most
	//   install capture: SHARE ROW EXCLUSIVE, waits 200ms at most
	//   copy rows: ACCESS SHARE, waits 200ms at most
	//   cutover: ACCESS EXCLUSIVE, waits 200ms at most
	//   drop old table: ACCESS EXCLUSIVE on the old table, and on the new one to take two triggers off, waits 200ms at most
}

// A change can be taken back until its old table is dropped. What was written since is not lost.
func ExampleChange_Undo() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	e, err := changeling.Open(ctx, db, changeling.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	change, err := e.Start(ctx, `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`)
	if err != nil {
		log.Fatal(err)
	}
	if err := change.Run(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, `UPDATE orders SET amount = 300 WHERE id = 2`); err != nil {
		log.Fatal(err)
	}
	if err := change.Undo(ctx, changeling.NoLoss); err != nil {
		log.Fatal(err)
	}
	var typ string
	var amount int
	if err := db.QueryRowContext(ctx, `SELECT pg_typeof(amount), amount FROM orders WHERE id = 2`).Scan(&typ, &amount); err != nil {
		log.Fatal(err)
	}
	fmt.Println(typ, amount)
	// Output: integer 300
}

// exampleDatabase is a server of its own with a small table.
func exampleDatabase(ctx context.Context) (*sql.DB, func()) {
	server, err := dbtest.Start(ctx, dbtest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	db, err := sql.Open("pgx", server.DSN("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range []string{`CREATE TABLE orders (id int PRIMARY KEY, amount int)`, `INSERT INTO orders VALUES (1, 100), (2, 200)`} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			log.Fatal(err)
		}
	}
	return db, func() {
		db.Close()
		if err := server.Stop(); err != nil {
			log.Print(err)
		}
	}
}
