// Package sample makes a table as applications have them, and users who write to it at a fixed rate and keep a ledger of
// what was acknowledged to them. The demo and the benchmarks stand on it.
package sample

import (
	"context"
	"database/sql"
	"fmt"
)

// Change is the statement that the demo and the benchmarks run: it makes every server rewrite the table.
const Change = "ALTER TABLE orders ALTER COLUMN amount TYPE bigint"

// Customers is how many rows the parent table has.
const Customers = 10_000

// Create makes the table orders with a number of rows of about 200 bytes: a bigint identity as key, a unique email, two
// more indexes, a foreign key to customers and a text payload.
func Create(ctx context.Context, db *sql.DB, rows int) error {
	return exec(ctx, db,
		`CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)`,
		fmt.Sprintf(`INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, %d) i`, Customers),
		`CREATE TABLE orders (
  id bigint GENERATED ALWAYS AS IDENTITY,
  customer_id bigint NOT NULL,
  email text NOT NULL,
  amount integer NOT NULL,
  status text NOT NULL DEFAULT 'new',
  created_at timestamptz NOT NULL DEFAULT now(),
  payload text NOT NULL)`,
		fmt.Sprintf(`INSERT INTO orders (customer_id, email, amount, created_at, payload)
SELECT 1 + i %% %d, 'user' || i || '@example.org', i %% 100000, timestamptz '2026-01-01' + i * interval '1 second', repeat(md5(i::text), 4)
FROM generate_series(1, %d) i`, Customers, rows),
		`ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id)`,
		`ALTER TABLE orders ADD CONSTRAINT orders_email_key UNIQUE (email)`,
		`CREATE INDEX orders_customer_id_idx ON orders (customer_id)`,
		`CREATE INDEX orders_created_at_idx ON orders (created_at)`,
		`ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (id)`,
		`VACUUM (ANALYZE) orders`, `VACUUM (ANALYZE) customers`, `CHECKPOINT`)
}

// Twin makes a copy of the table under another name, for the native ALTER that a change is compared with.
func Twin(ctx context.Context, db *sql.DB, name string) error {
	return exec(ctx, db,
		`CREATE TABLE `+name+` (LIKE orders INCLUDING ALL)`,
		`ALTER TABLE `+name+` ADD CONSTRAINT `+name+`_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (id)`,
		// In bulk, as the table itself: the indexes of both are packed alike.
		`INSERT INTO `+name+` OVERRIDING SYSTEM VALUE SELECT * FROM orders ORDER BY id`,
		`REINDEX TABLE `+name, `VACUUM (ANALYZE) `+name, `CHECKPOINT`)
}

func exec(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}
