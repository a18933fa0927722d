package main

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// dialect is what differs between servers.
type dialect struct {
	native, change string  // of the table t, in whose every row v is changed
	tables         []shape // {rows} is how many rows there are, {part} a tenth of them, {n} a row's number
	settle         []string
	sizes          string // of all tables of users and of ours, with their indexes
	logs           []kept
}

// kept is a log of the server's, and the query how much was written to it since the server began: the second columns of all rows.
type kept struct{ name, query string }

type shape struct {
	name   string
	create []string
}

func dialectOf(kind string) dialect {
	switch kind {
	case "mysql":
		d := my
		d.tables = shapes(`INSERT INTO t SELECT /*+ SET_VAR(cte_max_recursion_depth = 1000000000) */ `, ` FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < `, `) SELECT i FROM n) r`)
		d.sizes = `SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_TABLESPACES WHERE NAME LIKE 'sample%' OR NAME LIKE 'changeling%'`
		d.logs = []kept{{"redo log", `SHOW GLOBAL STATUS LIKE 'Innodb_os_log_written'`}, {"binary log", `SHOW BINARY LOGS`}}
		return d
	case "mariadb":
		d := my
		d.tables = shapes(`SET STATEMENT max_recursive_iterations = 4294967295 FOR INSERT INTO t SELECT `, ` FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < `, `) SELECT i FROM n) r`)
		d.sizes = `SELECT SUM(FILE_SIZE) FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME LIKE 'sample%' OR NAME LIKE 'changeling%'`
		d.logs = []kept{{"redo log", `SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'`}, {"binary log", `SHOW BINARY LOGS`}}
		return d
	}
	return postgres
}

var postgres = dialect{
	native: `ALTER TABLE t ALTER COLUMN v TYPE bigint`,
	change: `ALTER TABLE t ALTER COLUMN v TYPE bigint`,
	tables: []shape{
		{"narrow", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL)`, `INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) i`}},
		{"narrow, v indexed", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL)`, `INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) i`, `CREATE INDEX t_v ON t (v)`}},
		{"wide", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, a text, b text, c timestamptz, d numeric, e text)`,
			`INSERT INTO t SELECT i, i, repeat(md5(i::text), 4), repeat(md5((i + 1)::text), 8), now(), i, repeat('x', 100) FROM generate_series(1, {rows}) i`}},
		{"wide, five indexes", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, a text, b text, c timestamptz, d numeric, e text)`,
			`INSERT INTO t SELECT i, i, repeat(md5(i::text), 4), repeat(md5((i + 1)::text), 8), now(), i, repeat('x', 100) FROM generate_series(1, {rows}) i`,
			`CREATE INDEX ON t (a)`, `CREATE INDEX ON t (c)`, `CREATE INDEX ON t (d)`, `CREATE INDEX ON t (md5(b))`, `CREATE INDEX ON t (v)`}},
		{"mostly TOAST, a tenth of the rows", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, doc text)`, `ALTER TABLE t ALTER doc SET STORAGE EXTERNAL`,
			`INSERT INTO t SELECT i, i, repeat(md5(i::text), (200 + i % 100)::int) FROM generate_series(1, {part}) i`}},
	},
	settle: []string{`VACUUM (ANALYZE) t`, `CHECKPOINT`},
	sizes: `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND (nspname = 'public' OR nspname LIKE 'changeling%')`,
	logs: []kept{{"write-ahead log", `SELECT 'wal', pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`}},
}

var my = dialect{
	native: `ALTER TABLE t MODIFY v bigint NOT NULL, ALGORITHM=COPY`,
	change: `ALTER TABLE t MODIFY v bigint NOT NULL`,
	settle: []string{`ANALYZE TABLE t`},
}

// shapes are those of PostgreSQL's that have a meaning elsewhere. The text around a list of expressions makes rows of it.
func shapes(insert, from, end string) []shape {
	rows := func(values, n string) string { return insert + values + from + n + end }
	hash := func(of string) string { return `LEFT(SHA2(` + of + `, 256), 32)` } // MD5() is no function of MySQL 9.7's own
	const wide = `CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, a varchar(200), b text, c datetime(6), d decimal(20, 2), e varchar(200)`
	values := `i, i, REPEAT(` + hash(`i`) + `, 4), REPEAT(` + hash(`i + 1`) + `, 8), NOW(6), i, REPEAT('x', 100)`
	return []shape{
		{"narrow", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL)`, rows(`i, i`, `{rows}`)}},
		{"narrow, v indexed", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, KEY (v))`, rows(`i, i`, `{rows}`)}},
		{"wide", []string{wide + `)`, rows(values, `{rows}`)}},
		{"wide, five indexes", []string{wide + `, KEY (a), KEY (c), KEY (d), KEY (b(40)), KEY (v))`, rows(values, `{rows}`)}},
		{"mostly outside of the row, a tenth of the rows", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, doc mediumtext)`, rows(`i, i, REPEAT(`+hash(`i`)+`, 600 + i % 100)`, `{part}`)}},
	}
}

// create makes the table anew, and answers its size.
func (d dialect) create(ctx context.Context, db *sql.DB, statements []string, rows int) (size int64, err error) {
	numbers := strings.NewReplacer("{rows}", strconv.Itoa(rows), "{part}", strconv.Itoa(rows/10))
	for _, s := range append([]string{`DROP TABLE IF EXISTS t`}, append(statements, d.settle...)...) {
		if _, err := db.ExecContext(ctx, numbers.Replace(s)); err != nil {
			return 0, fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return d.whole(ctx, db)
}

// whole is the size of all tables of users and of ours.
func (d dialect) whole(ctx context.Context, db *sql.DB) (size int64, err error) {
	err = db.QueryRowContext(ctx, d.sizes).Scan(&size)
	return size, err
}

// written is how much each of the logs got since the server began.
func (d dialect) written(ctx context.Context, db *sql.DB) ([]int64, error) {
	sums := make([]int64, len(d.logs))
	for i, log := range d.logs {
		if err := sumSecond(ctx, db, log.query, &sums[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", log.name, err)
		}
	}
	return sums, nil
}

// sumSecond adds up the second column of all rows, of however many columns.
func sumSecond(ctx context.Context, db *sql.DB, query string, sum *int64) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		var bytes int64
		into := make([]any, len(columns))
		for i := range into {
			into[i] = new(sql.RawBytes)
		}
		into[1] = &bytes
		if err := rows.Scan(into...); err != nil {
			return err
		}
		*sum += bytes
	}
	return rows.Err()
}
