package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/mysql"
)

// againstCopy compares a change on MySQL with the native ALTER TABLE … ALGORITHM=COPY, on a table with three secondary indexes
// in random order, which is what a copy with all indexes in place suffers from.
func againstCopy(ctx context.Context, rows, rounds int) error {
	server, err := dbtest.StartMySQL(ctx, dbtest.MySQLOptions{Version: dbtest.DefaultMySQL, Durable: true, Settings: map[string]string{
		"innodb_buffer_pool_size": "2G", "innodb_redo_log_capacity": "2G",
	}})
	if err != nil {
		return err
	}
	defer server.Stop()
	target, err := mysql.ParseDSN(server.DSN(""), "")
	if err != nil {
		return err
	}
	admin := sql.OpenDB(target.Connector())
	defer admin.Close()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE bench"); err != nil {
		return err
	}
	if target, err = mysql.ParseDSN(server.DSN("bench"), ""); err != nil {
		return err
	}
	db := sql.OpenDB(target.Connector())
	defer db.Close()
	for _, text := range []string{
		`CREATE TABLE orders (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, account_id int NOT NULL, email varchar(64) NOT NULL, amount int NOT NULL,
  created_at datetime(6) NOT NULL, payload varchar(200) NOT NULL, UNIQUE KEY orders_email (email), KEY orders_account (account_id), KEY orders_created (created_at))`,
		fmt.Sprintf(`INSERT INTO orders (account_id, email, amount, created_at, payload)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
SELECT /*+ SET_VAR(cte_max_recursion_depth = 100000000) */ CRC32(i) %% 100000, CONCAT(HEX(CRC32(CONCAT('e', i))), i, '@example.org'), i %% 100000,
  TIMESTAMP('2026-01-01') + INTERVAL i SECOND, REPEAT(HEX(CRC32(i)), 15) FROM n`, rows),
		`CREATE TABLE twin LIKE orders`, `INSERT INTO twin SELECT * FROM orders`, `ANALYZE TABLE orders, twin`,
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	var natives, changes, ratios []float64
	for round := range rounds {
		typ := []string{"bigint", "int"}[round%2]
		began := time.Now()
		if _, err := db.ExecContext(ctx, "ALTER TABLE twin MODIFY amount "+typ+" NOT NULL, ALGORITHM=COPY"); err != nil {
			return err
		}
		native := time.Since(began)
		phases := newPhases()
		began = time.Now()
		err := changeling.Apply(ctx, db, "ALTER TABLE orders MODIFY amount "+typ+" NOT NULL", changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: phases.sink})
		if err != nil {
			return err
		}
		change := time.Since(began)
		fmt.Printf("BenchmarkMySQL/rows=%d/copy 1 %d ns/op\nBenchmarkMySQL/rows=%d/changeling 1 %d ns/op\n", rows, native, rows, change)
		fmt.Printf("# round %d: native ALGORITHM=COPY %.1f s, changeling %.1f s (%.2f), verification included, lock held %.1f ms; %s\n",
			round+1, native.Seconds(), change.Seconds(), change.Seconds()/native.Seconds(), ms(phases.held), phases)
		natives, changes, ratios = append(natives, native.Seconds()), append(changes, change.Seconds()), append(ratios, change.Seconds()/native.Seconds())
	}
	fmt.Printf("# MySQL %s, idle, %d rows, medians of %d: native %.1f s, changeling %.1f s, ratio %.2f (goal 0.70)\n",
		server.Version, rows, rounds, median(natives), median(changes), median(ratios))
	return nil
}
