package backfill_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/changeling-db/changeling/backfill"
	"github.com/changeling-db/changeling/internal/dbtest"
)

// A job that is a function: it is called for each batch, in the transaction that saves the position.
func ExampleJobs_Run() {
	ctx := context.Background()
	db, stop := exampleDatabase(ctx)
	defer stop()
	jobs, err := backfill.Open(ctx, db, backfill.Config{Fast: true})
	if err != nil {
		log.Fatal(err)
	}
	defer jobs.Close()
	status, err := jobs.Run(ctx, backfill.Job{
		Name: "cents", Table: "orders", Left: "cents IS NULL",
		Func: func(ctx context.Context, tx *sql.Tx, b backfill.Batch) (int64, error) {
			r, err := tx.ExecContext(ctx, "UPDATE "+b.Table+" SET cents = amount * 100 WHERE "+b.Range)
			if err != nil {
				return 0, err
			}
			return r.RowsAffected()
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Status, status.Rows)
	// Output: done 1000
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
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id bigint PRIMARY KEY, amount int, cents bigint); INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) i"); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		server.Stop()
	}
}
