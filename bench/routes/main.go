// Command routes compares the two ways to change a column's type, a second table and a second column, with each other and with the native
// ALTER TABLE, on tables of several shapes: how long each takes, how much it writes to the server's logs (PostgreSQL's write-ahead log; the redo
// log and the binary log of MySQL and MariaDB), how much disk it needs at its peak, and how much larger it leaves the table. Beside the figures
// of the two ways stand those that `changeling plan` had told.
//
//	go run ./bench/routes
//	go run ./bench/routes -db mysql
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
	"strings"
	"syscall"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/sample"
	"github.com/changeling-db/changeling/plan"
)

func main() {
	kind := flag.String("db", "postgres", "kind of server: postgres, mysql or mariadb")
	rows := flag.Int("rows", 500_000, "rows of the tables")
	rounds := flag.Int("rounds", 3, "rounds, interleaved; medians are told")
	quiet := flag.Bool("quiet", false, "with default settings, not --fast")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kind, *rows, *rounds, !*quiet); err != nil {
		fmt.Fprintln(os.Stderr, "bench/routes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kind string, rows, rounds int, fast bool) error {
	server, err := sample.Start(ctx, kind, "")
	if err != nil {
		return err
	}
	defer server.Stop()
	db, err := server.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	d := dialectOf(kind)
	fmt.Printf("# %s, %d rows, medians of %d: wall time; what the server's logs get; how much larger the table is afterwards; disk at the peak beyond the table's own. In brackets what the plan said before\n", server.Name, rows, rounds)
	for _, table := range d.tables {
		ways := []plan.Route{plan.Direct, plan.ShadowTable, plan.ShadowColumn}
		taken := map[plan.Route]*figures{plan.Direct: {}, plan.ShadowTable: {}, plan.ShadowColumn: {}}
		var size int64
		for range rounds {
			for _, way := range ways {
				if size, err = d.create(ctx, db, table.create, rows); err != nil {
					return fmt.Errorf("%s: %w", table.name, err)
				}
				if err := taken[way].take(ctx, db, d, way, fast); err != nil {
					return fmt.Errorf("%s, %s: %w", table.name, way, err)
				}
			}
		}
		fmt.Printf("# %s, %.0f MiB\n", table.name, mib(float64(size)))
		for _, way := range ways {
			f := taken[way]
			fmt.Printf("BenchmarkRoute/%s/%s 1 %.0f ns/op %.0f log-bytes %.0f growth-bytes\n", strings.NewReplacer(" ", "-", ",", "").Replace(table.name), way,
				sample.Median(f.took)*1e9, sample.Median(f.log), sample.Median(f.growth))
			peak := ""
			if way != plan.Direct { // nobody sees into that: it is the new table beside the old one
				peak = fmt.Sprintf("   peak %6.0f MiB%s", mib(sample.Median(f.peak)), said(f.told, f.told.Spare))
			}
			fmt.Printf("#   %-14s %5.1f s   log %6.0f MiB%s%s   growth %6.0f MiB%s%s\n", way, sample.Median(f.took), mib(sample.Median(f.log)), said(f.told, f.told.Log), f.each(d.logs),
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

// figures are those of one way, a value for each round.
type figures struct {
	took, log, peak, growth []float64
	logs                    [][]float64 // of each of the server's logs
	told                    plan.Way
}

// each tells the logs apart, where there are several.
func (f *figures) each(logs []kept) string {
	if len(logs) < 2 {
		return ""
	}
	var out []string
	for i, log := range logs {
		out = append(out, fmt.Sprintf("%s %.0f", log.name, mib(sample.Median(f.logs[i]))))
	}
	return " = " + strings.Join(out, " + ")
}

func (f *figures) take(ctx context.Context, db *sql.DB, d dialect, way plan.Route, fast bool) error {
	do := func() error {
		_, err := db.ExecContext(ctx, d.native)
		return err
	}
	if way != plan.Direct {
		e, err := changeling.Open(ctx, db, changeling.Config{Route: way, Fast: fast, DropAfter: changeling.DropNow})
		if err != nil {
			return err
		}
		defer e.Close()
		p, err := e.Plan(ctx, d.change)
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
	before, err := d.whole(ctx, db)
	if err != nil {
		return err
	}
	from, err := d.written(ctx, db)
	if err != nil {
		return err
	}
	watching, enough := context.WithCancel(ctx)
	watched := make(chan int64)
	go func() { watched <- d.highest(watching, db) }()
	began := time.Now()
	err = do()
	took := time.Since(began)
	enough()
	peak := <-watched
	if err != nil {
		return err
	}
	to, err := d.written(ctx, db)
	if err != nil {
		return err
	}
	after, err := d.whole(ctx, db)
	if err != nil {
		return err
	}
	sum := 0.0
	f.logs = append(f.logs, make([][]float64, len(to)-len(f.logs))...)
	for i := range to {
		wrote := float64(to[i] - from[i])
		f.logs[i], sum = append(f.logs[i], wrote), sum+wrote
	}
	f.took, f.log = append(f.took, took.Seconds()), append(f.log, sum)
	f.peak, f.growth = append(f.peak, float64(max(peak, after)-before)), append(f.growth, float64(after-before))
	return nil
}

// highest looks at the sizes five times a second until its context ends.
func (d dialect) highest(ctx context.Context, db *sql.DB) (peak int64) {
	for {
		select {
		case <-ctx.Done():
			return peak
		case <-time.After(200 * time.Millisecond):
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		if size, err := d.whole(bounded, db); err == nil { // an index or a table may go while it is looked at
			peak = max(peak, size)
		}
		cancel()
	}
}
