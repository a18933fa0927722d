// Command bench compares a change with the native ALTER TABLE in the same run, and measures what users feel of it.
//
//	go run ./bench                       1M and 5M rows, idle, --fast against native; then 1M rows at 1,000 writes/s
//	go run ./bench -idle 1000000 -rounds 3 -load 0
//	go run ./bench -idle "" -load 1000000 -rate 1000 -rounds 5
//
// It starts a durable PostgreSQL of its own. Lines that begin with "Benchmark" are benchstat's format. On a shared machine
// only the ratios within a run mean something.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/sample"
)

func main() {
	idle := flag.String("idle", "1000000,5000000", "rows of the tables that are changed with nobody else there, comma separated")
	load := flag.Int("load", 1_000_000, "rows of the table that is changed under load; 0: none")
	rate := flag.Int("rate", 1000, "writes a second under load")
	rounds := flag.Int("rounds", 5, "rounds, interleaved; medians are told")
	fast := flag.Bool("fast", false, "the change under load is a fast one")
	major := flag.Int("major", dbtest.DefaultMajor, "PostgreSQL major version")
	memory := flag.Int("memory", 0, "rows of a table that the command changes in a process of its own, whose peak memory is told; 0: none")
	my := flag.Int("mysql", 0, "rows of a table on MySQL that is changed with nobody else there, instead of all else; 0: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *my > 0 {
		if err := againstCopy(ctx, *my, *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, *idle, *load, *rate, *rounds, *major, *memory, *fast); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, idle string, load, rate, rounds, major, memory int, fast bool) error {
	server, err := dbtest.Start(ctx, dbtest.Options{Major: major, Durable: true, Settings: map[string]string{
		"shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB", "checkpoint_timeout": "15min",
	}})
	if err != nil {
		return err
	}
	defer server.Stop()
	db, err := sql.Open("pgx", server.DSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for _, field := range strings.FieldsFunc(idle, func(r rune) bool { return r == ',' }) {
		rows, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if err := againstNative(ctx, db, rows, rounds); err != nil {
			return err
		}
	}
	if load > 0 {
		if err := underLoad(ctx, db, load, rate, rounds, fast); err != nil {
			return err
		}
	}
	if memory > 0 {
		return peakMemory(ctx, server, db, memory)
	}
	return nil
}

// directions are the statements of one round and the next: both rewrite the table.
var directions = []string{"bigint", "integer"}

// againstNative runs the native ALTER on a twin and the change on the table, one after the other, several times.
func againstNative(ctx context.Context, db *sql.DB, rows, rounds int) error {
	if err := fresh(ctx, db, rows); err != nil {
		return err
	}
	var natives, changes, ratios []float64
	for round := range rounds {
		typ := directions[round%2]
		if err := sample.Twin(ctx, db, "twin"); err != nil {
			return err
		}
		began := time.Now()
		if _, err := db.ExecContext(ctx, "ALTER TABLE twin ALTER COLUMN amount TYPE "+typ); err != nil {
			return err
		}
		native := time.Since(began)
		if _, err := db.ExecContext(ctx, "DROP TABLE twin"); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		phases := newPhases()
		began = time.Now()
		err := changeling.Apply(ctx, db, "ALTER TABLE orders ALTER COLUMN amount TYPE "+typ,
			changeling.Config{Fast: true, DropAfter: changeling.DropNow, Events: phases.sink})
		if err != nil {
			return err
		}
		change := time.Since(began)
		fmt.Printf("BenchmarkIdle/rows=%d/native 1 %d ns/op\nBenchmarkIdle/rows=%d/changeling 1 %d ns/op\n", rows, native, rows, change)
		fmt.Printf("# round %d: native %.1f s, changeling %.1f s (%.2f), verification included; %s\n", round+1, native.Seconds(), change.Seconds(), change.Seconds()/native.Seconds(), phases)
		natives, changes, ratios = append(natives, native.Seconds()), append(changes, change.Seconds()), append(ratios, change.Seconds()/native.Seconds())
	}
	fmt.Printf("# idle, %d rows, medians of %d: native %.1f s, changeling %.1f s, ratio %.2f (goal 1.10)\n", rows, rounds, median(natives), median(changes), median(ratios))
	return nil
}

// underLoad runs changes while users write at a fixed rate, and compares what they felt before and during each.
func underLoad(ctx context.Context, db *sql.DB, rows, rate, rounds int, fast bool) error {
	var before99, during99, ratios, helds, rates []float64
	for round := range rounds {
		if err := fresh(ctx, db, rows); err != nil {
			return err
		}
		usersDB, err := sql.Open("pgx", dsnOf(ctx, db))
		if err != nil {
			return err
		}
		users := &sample.Users{DB: usersDB, Rate: rate, Rows: rows}
		userCtx, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- users.Run(userCtx) }()
		const quiet = 10 * time.Second
		if !sleep(ctx, quiet) {
			stop()
			<-done
			return ctx.Err()
		}
		phases := newPhases()
		from := time.Since(began)
		err = changeling.Apply(ctx, db, sample.Change, changeling.Config{Fast: fast, DropAfter: changeling.DropNow, Events: phases.sink})
		to := time.Since(began)
		stop()
		err = errors.Join(err, <-done)
		if err != nil {
			return err
		}
		before, during := users.Between(2*time.Second, from), users.Between(from, to)
		copying, draining := users.Between(phases.window(began, "copy")), users.Between(phases.window(began, "drain"))
		building := users.Between(phases.window(began, "build"))
		lost, some, err := users.Lost(ctx)
		usersDB.Close()
		if err != nil {
			return err
		}
		if failed := users.Failed(); lost > 0 || len(failed) > 0 {
			return fmt.Errorf("%d writes lost %v, %d statements of users failed %v", lost, some, len(failed), failed[:min(len(failed), 3)])
		}
		fmt.Printf("BenchmarkLoad/rows=%d/rate=%d 1 %d ns/op %.1f before-p99-ms %.1f during-p99-ms %.1f held-ms %.0f writes/s\n",
			rows, rate, to-from, ms(before.P99), ms(during.P99), ms(phases.held), during.Rate)
		fmt.Printf("# round %d: change %.1f s; p50/p99 ms before %.1f/%.1f, during %.1f/%.1f, copy %.1f/%.1f, build %.1f/%.1f, drain %.1f/%.1f; rate %.0f -> %.0f; lock held %.1f ms; %d acknowledged, 0 lost; %s\n",
			round+1, (to - from).Seconds(), ms(before.P50), ms(before.P99), ms(during.P50), ms(during.P99), ms(copying.P50), ms(copying.P99), ms(building.P50), ms(building.P99),
			ms(draining.P50), ms(draining.P99), before.Rate, during.Rate, ms(phases.held), users.Acknowledged(), phases)
		quietest := max(ms(before.P99), 0.1)
		before99, during99 = append(before99, ms(before.P99)), append(during99, max(ms(copying.P99), ms(draining.P99)))
		ratios, helds, rates = append(ratios, max(ms(copying.P99), ms(draining.P99))/quietest), append(helds, ms(phases.held)), append(rates, during.Rate)
	}
	fmt.Printf("# %d rows at %d writes/s, medians of %d: p99 before %.1f ms, in copy and drain %.1f ms, ratio %.1f (goal 3); lock held %.1f ms (goal 20); rate kept %.0f/s\n",
		rows, rate, rounds, median(before99), median(during99), median(ratios), median(helds), median(rates))
	return nil
}

// peakMemory runs the command itself, so that the users and the server of this process do not count.
func peakMemory(ctx context.Context, server *dbtest.Server, db *sql.DB, rows int) error {
	if err := fresh(ctx, db, rows); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "changeling-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "changeling")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/changeling").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	command := exec.CommandContext(ctx, binary, "run", "--fast", "--yes", "--quiet", sample.Change)
	command.Env = append(os.Environ(), "CHANGELING_DSN="+server.DSN("postgres"))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not tell a process's memory")
	}
	fmt.Printf("BenchmarkMemory/rows=%d 1 %d peak-KiB\n# peak memory of the command at %d rows: %.0f MiB (goal 64)\n", rows, usage.Maxrss, rows, float64(usage.Maxrss)/1024)
	return nil
}

func fresh(ctx context.Context, db *sql.DB, rows int) error {
	for _, s := range []string{"DROP TABLE IF EXISTS orders", "DROP TABLE IF EXISTS customers", "DROP SCHEMA IF EXISTS changeling CASCADE"} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return sample.Create(ctx, db, rows)
}

// dsnOf opens another pool to the same server, so that users and tool do not share connections.
func dsnOf(ctx context.Context, db *sql.DB) string {
	var port int
	if err := db.QueryRowContext(ctx, "SELECT current_setting('port')::int").Scan(&port); err != nil {
		return ""
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// phases collects when each kind of step ran and for how long the cutover held its lock.
type phases struct {
	order []string
	took  map[string]time.Duration
	begin map[string]time.Time
	end   map[string]time.Time
	held  time.Duration
}

func newPhases() *phases {
	return &phases{took: map[string]time.Duration{}, begin: map[string]time.Time{}, end: map[string]time.Time{}}
}

func (p *phases) sink(e event.Event) {
	switch e := e.(type) {
	case event.StepStarted:
		if _, ok := p.begin[e.Step]; !ok {
			p.order = append(p.order, e.Step)
			p.begin[e.Step] = time.Now()
		}
	case event.StepEnded:
		p.took[e.Step] += e.Took
		p.end[e.Step] = time.Now()
	case event.Done:
		p.held = e.Held
	}
}

func (p *phases) window(began time.Time, step string) (from, to time.Duration) {
	return p.begin[step].Sub(began), p.end[step].Sub(began)
}

func (p *phases) String() string {
	var parts []string
	for _, s := range p.order {
		parts = append(parts, fmt.Sprintf("%s %.1f", s, p.end[s].Sub(p.begin[s]).Seconds()))
	}
	return strings.Join(parts, ", ")
}
