package sample

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// Customers is how many rows the parent table has.
const Customers = 10_000

// Text is what differs between servers. The table orders has rows of about 200 bytes: a number of its own as key, a unique
// email, two more indexes, and a payload.
type Text struct {
	my     bool // arguments are written ?, and the last inserted number is the driver's
	create []string
	fill   string   // with the number of rows
	index  []string // after the rows are there
	twin   []string // with {table} for its name
	alter  string   // with a table and a type
	copies string   // what makes the native statement rewrite the table
	types  [2]string
	insert string
}

var postgres = Text{
	create: []string{
		`CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL)`,
		`INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, {customers}) i`,
		`CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY, customer_id bigint NOT NULL, email text NOT NULL, amount integer NOT NULL,
  status text NOT NULL DEFAULT 'new', created_at timestamptz NOT NULL DEFAULT now(), payload text NOT NULL)`,
	},
	fill: `INSERT INTO orders (customer_id, email, amount, created_at, payload)
SELECT 1 + i % {customers}, 'user' || i || '@example.org', i % 100000, timestamptz '2026-01-01' + i * interval '1 second', repeat(md5(i::text), 4)
FROM generate_series(1, {rows}) i`,
	index: []string{
		`ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id)`,
		`ALTER TABLE orders ADD CONSTRAINT orders_email_key UNIQUE (email)`,
		`CREATE INDEX orders_customer_id_idx ON orders (customer_id)`,
		`CREATE INDEX orders_created_at_idx ON orders (created_at)`,
		`ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (id)`,
		`VACUUM (ANALYZE) orders`, `VACUUM (ANALYZE) customers`, `CHECKPOINT`,
	},
	twin: []string{
		`CREATE TABLE {table} (LIKE orders INCLUDING ALL)`,
		`ALTER TABLE {table} ADD CONSTRAINT {table}_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (id)`,
		// In bulk, as the table itself: the indexes of both are packed alike.
		`INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM orders ORDER BY id`,
		`REINDEX TABLE {table}`, `VACUUM (ANALYZE) {table}`, `CHECKPOINT`,
	},
	alter:  `ALTER TABLE %s ALTER COLUMN amount TYPE %s`,
	types:  [2]string{"bigint", "integer"},
	insert: `INSERT INTO orders (customer_id, email, amount, payload) VALUES ($1, $2, $3, $4) RETURNING id`,
}

// The emails of MySQL's table stand in random order, which is what a copy with all indexes in place suffers from.
var inMySQL = Text{
	my: true,
	create: []string{`CREATE TABLE orders (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id bigint NOT NULL, email varchar(100) NOT NULL, amount int NOT NULL,
  status varchar(20) NOT NULL DEFAULT 'new', created_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), payload varchar(200) NOT NULL,
  UNIQUE KEY orders_email (email), KEY orders_customer (customer_id), KEY orders_created (created_at))`},
	fill:   strings.ReplaceAll(myFill, "{hint}", "/*+ SET_VAR(cte_max_recursion_depth = 1000000000) */ "),
	index:  []string{`ANALYZE TABLE orders`},
	twin:   []string{`CREATE TABLE {table} LIKE orders`, `INSERT INTO {table} SELECT * FROM orders`, `ANALYZE TABLE {table}`},
	alter:  `ALTER TABLE %s MODIFY amount %s NOT NULL`,
	copies: `, ALGORITHM=COPY`,
	types:  [2]string{"bigint", "int"},
	insert: `INSERT INTO orders (customer_id, email, amount, payload) VALUES (?, ?, ?, ?)`,
}

const myFill = `INSERT INTO orders (customer_id, email, amount, created_at, payload)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT {hint}1 + CRC32(i) % {customers}, CONCAT(HEX(CRC32(CONCAT('e', i))), i, '@example.org'), i % 100000,
  TIMESTAMP('2026-01-01') + INTERVAL i SECOND, REPEAT(HEX(CRC32(i)), 15) FROM n`

var inMariaDB = func() Text {
	t := inMySQL
	t.fill = "SET STATEMENT max_recursive_iterations = 4294967295 FOR " + strings.ReplaceAll(myFill, "{hint}", "")
	return t
}()

// Statement is the change that everybody makes: to a type by its number, 0 or 1. The server rewrites the table for it.
func (t Text) Statement(round int) string {
	return fmt.Sprintf(t.alter, "orders", t.types[round%2])
}

// Native is the same on another table, in the way in which the server itself copies the rows.
func (t Text) Native(table string, round int) string {
	return fmt.Sprintf(t.alter, table, t.types[round%2]) + t.copies
}

// Create makes the table with a number of rows. One that is there is dropped.
func (t Text) Create(ctx context.Context, db *sql.DB, rows int) error {
	numbers := strings.NewReplacer("{rows}", strconv.Itoa(rows), "{customers}", strconv.Itoa(Customers))
	statements := []string{`DROP TABLE IF EXISTS orders`, `DROP TABLE IF EXISTS customers CASCADE`}
	statements = append(append(append(statements, t.create...), t.fill), t.index...)
	for i, s := range statements {
		statements[i] = numbers.Replace(s)
	}
	return execute(ctx, db, statements...)
}

// Twin makes a copy of the table under another name, for the native ALTER that a change is compared with.
func (t Text) Twin(ctx context.Context, db *sql.DB, name string) error {
	for _, s := range t.twin {
		if err := execute(ctx, db, strings.ReplaceAll(s, "{table}", name)); err != nil {
			return err
		}
	}
	return nil
}

func execute(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}
