// Command routes compares the two ways to change a column's type on PostgreSQL, a second table and a second column, with each other and with
// the native ALTER TABLE, on tables of several shapes: how long each takes, how much write-ahead log it writes, how much disk it needs
// at its peak, and how much larger it leaves the table. Beside the figures of the two ways stand those that `changeling plan` had told.
//
//	go run ./bench/routes
//	go run ./bench/routes -rows 2000000 -rounds 5
//
// It starts a durable server of its own. Times mean something in comparison only; bytes are the same on each machine.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/sample"
	"github.com/changeling-db/changeling/plan"
)

// tables are the shapes. v is changed; {rows} is how many rows there are, {part} a tenth of them.
var tables = []struct {
	name   string
	create []string
}{
	{"narrow", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL)`, `INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) i`}},
	{"narrow, v indexed", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL)`, `INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) i`, `CREATE INDEX t_v ON t (v)`}},
	{"wide", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, a text, b text, c timestamptz, d numeric, e text)`,
		`INSERT INTO t SELECT i, i, repeat(md5(i::text), 4), repeat(md5((i + 1)::text), 8), now(), i, repeat('x', 100) FROM generate_series(1, {rows}) i`}},
	{"wide, five indexes", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, a text, b text, c timestamptz, d numeric, e text)`,
		`INSERT INTO t SELECT i, i, repeat(md5(i::text), 4), repeat(md5((i + 1)::text), 8), now(), i, repeat('x', 100) FROM generate_series(1, {rows}) i`,
		`CREATE INDEX ON t (a)`, `CREATE INDEX ON t (c)`, `CREATE INDEX ON t (d)`, `CREATE INDEX ON t (md5(b))`, `CREATE INDEX ON t (v)`}},
	{"mostly TOAST, a tenth of the rows", []string{`CREATE TABLE t (id bigint PRIMARY KEY, v int NOT NULL, doc text)`, `ALTER TABLE t ALTER doc SET STORAGE EXTERNAL`,
		`INSERT INTO t SELECT i, i, repeat(md5(i::text), (200 + i % 100)::int) FROM generate_series(1, {part}) i`}},
}

const change = `ALTER TABLE t ALTER COLUMN v TYPE bigint`

func main() {
	rows := flag.Int("rows", 500_000, "rows of the tables")
	rounds := flag.Int("rounds", 3, "rounds, interleaved; medians are told")
	quiet := flag.Bool("quiet", false, "with default settings, not --fast")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rows, *rounds, !*quiet); err != nil {
		fmt.Fprintln(os.Stderr, "bench/routes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rows, rounds int, fast bool) error {
	server, err := sample.Start(ctx, "postgres", "")
	if err != nil {
		return err
	}
	defer server.Stop()
	db, err := server.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	fmt.Printf("# %s, %d rows, medians of %d: wall time; write-ahead log; how much larger the table is afterwards; disk at the peak beyond the table's own. In brackets what the plan said before\n", server.Name, rows, rounds)
	for _, table := range tables {
		ways := []plan.Route{plan.Direct, plan.ShadowTable, plan.ShadowColumn}
		taken := map[plan.Route]*figures{plan.Direct: {}, plan.ShadowTable: {}, plan.ShadowColumn: {}}
		var size int64
		for range rounds {
			for _, way := range ways {
				if size, err = create(ctx, db, table.create, rows); err != nil {
					return fmt.Errorf("%s: %w", table.name, err)
				}
				if err := taken[way].take(ctx, db, way, fast); err != nil {
					return fmt.Errorf("%s, %s: %w", table.name, way, err)
				}
			}
		}
		fmt.Printf("# %s, %.0f MiB\n", table.name, mib(float64(size)))
		for _, way := range ways {
			f := taken[way]
			fmt.Printf("BenchmarkRoute/%s/%s 1 %.0f ns/op %.0f wal-bytes %.0f growth-bytes\n", strings.NewReplacer(" ", "-", ",", "").Replace(table.name), way,
				sample.Median(f.took)*1e9, sample.Median(f.log), sample.Median(f.growth))
			peak := ""
			if way != plan.Direct { // nobody sees into that: it is the new table beside the old one
				peak = fmt.Sprintf("   peak %6.0f MiB%s", mib(sample.Median(f.peak)), said(f.told, f.told.Spare))
			}
			fmt.Printf("#   %-14s %5.1f s   log %6.0f MiB%s   growth %6.0f MiB%s%s\n", way, sample.Median(f.took), mib(sample.Median(f.log)), said(f.told, f.told.Log),
				mib(sample.Median(f.growth)), said(f.told, f.told.Dead), peak)
		}
	}
	return nil
}

func mib(bytes float64) float64 { return bytes / (1 << 20) }

func said(w plan.Way, bytes int64) string {
	if w.Route == "" {
		return ""
	}
	return fmt.Sprintf(" (%.0f)", mib(float64(bytes)))
}

// create makes the table anew, and answers its size.
func create(ctx context.Context, db *sql.DB, statements []string, rows int) (size int64, err error) {
	numbers := strings.NewReplacer("{rows}", strconv.Itoa(rows), "{part}", strconv.Itoa(rows/10))
	for _, s := range append([]string{`DROP TABLE IF EXISTS t`}, append(statements, `VACUUM (ANALYZE) t`, `CHECKPOINT`)...) {
		if _, err := db.ExecContext(ctx, numbers.Replace(s)); err != nil {
			return 0, fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return whole(ctx, db)
}

// whole is the size of all tables of users and of ours, with their indexes.
func whole(ctx context.Context, db *sql.DB) (size int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind = 'r' AND (nspname = 'public' OR nspname LIKE 'changeling%')`).Scan(&size)
	return size, err
}

// figures are those of one way, a value for each round.
type figures struct {
	took, log, peak, growth []float64
	told                    plan.Way
}

func (f *figures) take(ctx context.Context, db *sql.DB, way plan.Route, fast bool) error {
	do := func() error {
		_, err := db.ExecContext(ctx, change)
		return err
	}
	if way != plan.Direct {
		e, err := changeling.Open(ctx, db, changeling.Config{Route: way, Fast: fast, DropAfter: changeling.DropNow})
		if err != nil {
			return err
		}
		defer e.Close()
		p, err := e.Plan(ctx, change)
		if err != nil {
			return err
		}
		for _, w := range p.Ways {
			if w.Route == way {
				f.told = w
			}
		}
		do = func() error {
			c, err := e.StartPlan(ctx, p)
			if err != nil {
				return err
			}
			return c.Run(ctx)
		}
	}
	before, err := whole(ctx, db)
	if err != nil {
		return err
	}
	var from, to int64
	const written = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`
	if err := db.QueryRowContext(ctx, written).Scan(&from); err != nil {
		return err
	}
	watching, enough := context.WithCancel(ctx)
	watched := make(chan int64)
	go func() { watched <- highest(watching, db) }()
	began := time.Now()
	err = do()
	took := time.Since(began)
	enough()
	peak := <-watched
	if err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, written).Scan(&to); err != nil {
		return err
	}
	after, err := whole(ctx, db)
	if err != nil {
		return err
	}
	f.took, f.log = append(f.took, took.Seconds()), append(f.log, float64(to-from))
	f.peak, f.growth = append(f.peak, float64(max(peak, after)-before)), append(f.growth, float64(after-before))
	return nil
}

// highest looks at the sizes five times a second until its context ends.
func highest(ctx context.Context, db *sql.DB) (peak int64) {
	for {
		select {
		case <-ctx.Done():
			return peak
		case <-time.After(200 * time.Millisecond):
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		if size, err := whole(bounded, db); err == nil { // an index or a table may go while it is looked at
			peak = max(peak, size)
		}
		cancel()
	}
}
