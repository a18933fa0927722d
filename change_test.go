package changeling_test

import (
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func TestApplyChangesAType(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db,
		`CREATE TABLE tenants (id int PRIMARY KEY)`, `INSERT INTO tenants SELECT generate_series(1, 10)`,
		`CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, amount int NOT NULL, tenant int REFERENCES tenants, CHECK (amount >= 0))`,
		`INSERT INTO orders (email, amount, tenant) SELECT 'a' || i, i, i % 10 + 1 FROM generate_series(1, 20000) i`,
		`CREATE TABLE items (id serial PRIMARY KEY, order_id bigint REFERENCES orders)`,
		`INSERT INTO items (order_id) SELECT generate_series(1, 100)`)
	const ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
	sink := func(e event.Event) { t.Logf("%T %+v", e, e) }
	if err := changeling.Apply(t.Context(), db, ddl, changeling.Config{Events: sink}); err != nil {
		t.Fatal(err)
	}
	var typ string
	var n, sum int64
	if err := db.QueryRow(`SELECT pg_typeof(amount), count(*), sum(amount) FROM orders GROUP BY 1`).Scan(&typ, &n, &sum); err != nil {
		t.Fatal(err)
	}
	if typ != "bigint" || n != 20000 || sum != 20000*20001/2 {
		t.Errorf("amount is %s, %d rows, sum %d", typ, n, sum)
	}
	if err := changeling.Apply(t.Context(), db, ddl, changeling.Config{Events: sink}); err != nil {
		t.Fatal(err)
	}
}
