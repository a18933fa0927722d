// Command bench compares a change with the native ALTER TABLE in the same run, and measures what users feel of it.
//
//	go run ./bench                       1M and 5M rows, idle, --fast against native; then 1M rows at 1,000 writes/s
//	go run ./bench -idle 1000000 -rounds 3 -load 0
//	go run ./bench -idle "" -load 1000000 -rate 1000 -rounds 5
//	go run ./bench -db mysql -idle 2000000 -rounds 3 -load 0
//
// It starts a durable server of its own. Lines that begin with "Benchmark" are benchstat's format. On a shared machine
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/sample"
)

func main() {
	db := flag.String("db", "postgres", "kind of server: postgres, mysql or mariadb")
	version := flag.String("server-version", "", "its version (default: the one that the set-up installs)")
	idle := flag.String("idle", "1000000,5000000", "rows of the tables that are changed with nobody else there, comma separated")
	load := flag.Int("load", 1_000_000, "rows of the table that is changed under load; 0: none")
	rate := flag.Int("rate", 1000, "writes a second under load")
	warm := flag.Duration("warm", 10*time.Second, "how long users write before a change under load begins; the last half of it, or 8 s, is what is called before")
	rounds := flag.Int("rounds", 5, "rounds, interleaved; medians are told")
	fast := flag.Bool("fast", false, "the change under load is a fast one")
	triggers := flag.Bool("triggers", false, "on MySQL and MariaDB use triggers and not the binary log")
	peer := flag.Bool("peer", false, "on MySQL and MariaDB in the same rounds run pt-online-schema-change, which has to be installed (percona-toolkit), and rebuild the table in place")
	drop := flag.Int("drop", 0, "rows of a table, all in memory, that is dropped beside one that users write to; 0: none")
	emptied := flag.Bool("emptied", false, "with -drop: its rows are deleted in batches before")
	handover := flag.Int("handover", 0, "on PostgreSQL, rows of a table that a user's statement of 10,000 rows writes to in the seconds before the swap; 0: none")
	memory := flag.Int("memory", 0, "rows of a table that the command changes in a process of its own, whose peak memory is told; 0: none")
	var settings []string
	flag.Func("set", "a setting of the server, as name=value; may be said several times", func(s string) error {
		settings = append(settings, s)
		return nil
	})
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := sample.Start(ctx, *db, *version, settings...)
	if err == nil {
		defer server.Stop()
		b := &bench{Server: server, rounds: *rounds, rate: *rate, warm: *warm, fast: *fast, triggers: *triggers, peer: *peer, emptied: *emptied}
		err = b.run(ctx, *idle, *load, *drop, *handover, *memory)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if server != nil {
			_ = server.Stop() // os.Exit runs nothing that was deferred
		}
		os.Exit(1)
	}
}

// bench is one server, and how it is measured.
type bench struct {
	*sample.Server
	db                   *sql.DB
	rounds, rate         int
	warm                 time.Duration
	fast, triggers, peer bool
	emptied              bool
}

func (b *bench) run(ctx context.Context, idle string, load, drop, handover, memory int) (err error) {
	if b.db, err = b.Open(); err != nil {
		return err
	}
	defer b.db.Close()
	for field := range strings.FieldsFuncSeq(idle, func(r rune) bool { return r == ',' }) {
		rows, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		if err := b.idle(ctx, rows); err != nil {
			return err
		}
	}
	if load > 0 {
		if err := b.load(ctx, load); err != nil {
			return err
		}
	}
	if drop > 0 {
		if err := b.drop(ctx, drop); err != nil {
			return err
		}
	}
	if handover > 0 {
		if err := b.handover(ctx, handover); err != nil {
			return err
		}
	}
	if memory > 0 {
		return b.memory(ctx, memory)
	}
	return nil
}

// apply makes the change of a round.
func (b *bench) apply(ctx context.Context, round int, fast bool) (*sample.Phases, error) {
	p := sample.NewPhases()
	c := changeling.Config{Fast: fast, DropAfter: changeling.DropNow, Events: p.Sink}
	if strings.HasPrefix(b.DSN, "mysql://") && !b.triggers {
		c.Binlog = b.DSN
	}
	return p, changeling.Apply(ctx, b.db, b.Statement(round), c)
}

// goals are the first goals of the project for a fast change, as a part of the native ALTER's time.
var goals = map[string]float64{"postgres": 1.1, "mysql": 0.7, "mariadb": 1.0}

// idle runs the native ALTER on a twin and the change on the table, one after the other, several times.
func (b *bench) idle(ctx context.Context, rows int) error {
	if err := b.Create(ctx, b.db, rows); err != nil {
		return err
	}
	var natives, changes, ratios, cpus, peers, rebuilds []float64
	for round := range b.rounds {
		if err := b.Twin(ctx, b.db, "twin"); err != nil {
			return err
		}
		var native, change time.Duration
		var phases *sample.Phases
		nativeCPU, err := b.spent(func() (err error) {
			native, err = b.timed(ctx, b.Native("twin", round))
			return err
		})
		if err != nil {
			return err
		}
		peer := ""
		if b.peer {
			took, err := b.Percona(ctx, "twin", round+1)
			if err != nil {
				return err
			}
			rebuilt, err := b.timed(ctx, "ALTER TABLE twin FORCE, ALGORITHM=INPLACE, LOCK=NONE") // which changes no type, but writes the table anew
			if err != nil {
				return err
			}
			peers, rebuilds = append(peers, took.Seconds()), append(rebuilds, rebuilt.Seconds())
			peer = fmt.Sprintf(", pt-online-schema-change %.1f s, native in-place rebuild %.1f s", took.Seconds(), rebuilt.Seconds())
		}
		if _, err := b.timed(ctx, "DROP TABLE twin"); err != nil {
			return err
		}
		if b.Kind == "postgres" {
			if _, err := b.timed(ctx, "CHECKPOINT"); err != nil {
				return err
			}
		}
		changeCPU, err := b.spent(func() (err error) {
			began := time.Now()
			phases, err = b.apply(ctx, round, true)
			change = time.Since(began)
			return err
		})
		if err != nil {
			return err
		}
		fmt.Printf("BenchmarkIdle/%s/rows=%d/native 1 %d ns/op\nBenchmarkIdle/%s/rows=%d/changeling 1 %d ns/op\n", b.Kind, rows, native, b.Kind, rows, change)
		fmt.Printf("# round %d: native %.1f s, changeling %.1f s (%.2f), verification included, lock held %.1f ms%s; %s; the server's CPU: native %.1f s, changeling %.1f s (%.2f)\n",
			round+1, native.Seconds(), change.Seconds(), change.Seconds()/native.Seconds(), sample.Ms(phases.Held), peer, phases,
			nativeCPU.Seconds(), changeCPU.Seconds(), changeCPU.Seconds()/nativeCPU.Seconds())
		cpus = append(cpus, changeCPU.Seconds()/nativeCPU.Seconds())
		natives, changes, ratios = append(natives, native.Seconds()), append(changes, change.Seconds()), append(ratios, change.Seconds()/native.Seconds())
	}
	fmt.Printf("# %s idle, %d rows, medians of %d: native %.1f s, changeling %.1f s, ratio %.2f (goal %.2f); ratio of the server's CPU %.2f\n",
		b.Name, rows, b.rounds, sample.Median(natives), sample.Median(changes), sample.Median(ratios), goals[b.Kind], sample.Median(cpus))
	if b.peer {
		fmt.Printf("# pt-online-schema-change %.1f s, changeling is %.2f of it (goal 0.50); native in-place rebuild %.1f s, changeling is %.2f of it\n",
			sample.Median(peers), sample.Median(changes)/sample.Median(peers), sample.Median(rebuilds), sample.Median(changes)/sample.Median(rebuilds))
	}
	return nil
}

func (b *bench) timed(ctx context.Context, statement string) (time.Duration, error) {
	began := time.Now()
	_, err := b.db.ExecContext(ctx, statement)
	return time.Since(began), err
}

// spent is the processor time that the server needs while something is done.
func (b *bench) spent(do func() error) (time.Duration, error) {
	before, err := b.CPU()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := b.CPU()
	return after - before, err
}

// load runs changes while users write at a fixed rate, and compares what they felt before and during each.
func (b *bench) load(ctx context.Context, rows int) error {
	var before99, during99, ratios, helds, rates []float64
	for round := range b.rounds {
		if err := b.Create(ctx, b.db, rows); err != nil {
			return err
		}
		var from, to time.Duration
		var start time.Time
		var phases *sample.Phases
		users, err := b.Beside(ctx, rows, b.rate, func(_ *sample.Users, began time.Time) (err error) {
			start = began
			if !sleep(ctx, b.warm) {
				return ctx.Err()
			}
			from = time.Since(began)
			phases, err = b.apply(ctx, 0, b.fast)
			to = time.Since(began)
			return err
		})
		if err != nil {
			return err
		}
		before, during := users.Before(from), users.Between(from, to)
		copying, draining := users.Between(phases.Window(start, "copy")), users.Between(phases.Window(start, "drain"))
		building := users.Between(phases.Window(start, "build"))
		fmt.Printf("BenchmarkLoad/%s/rows=%d/rate=%d 1 %d ns/op %.1f before-p99-ms %.1f during-p99-ms %.1f held-ms %.0f writes/s\n",
			b.Kind, rows, b.rate, to-from, sample.Ms(before.P99), sample.Ms(during.P99), sample.Ms(phases.Held), during.Rate)
		fmt.Printf("# round %d: change %.1f s; p50/p99 ms before %.1f/%.1f, during %.1f/%.1f, copy %.1f/%.1f, build %.1f/%.1f, drain %.1f/%.1f; rate %.0f -> %.0f; lock held %.1f ms; %d acknowledged, 0 lost; %s\n",
			round+1, (to - from).Seconds(), sample.Ms(before.P50), sample.Ms(before.P99), sample.Ms(during.P50), sample.Ms(during.P99), sample.Ms(copying.P50), sample.Ms(copying.P99), sample.Ms(building.P50), sample.Ms(building.P99),
			sample.Ms(draining.P50), sample.Ms(draining.P99), before.Rate, during.Rate, sample.Ms(phases.Held), users.Acknowledged(), phases)
		quietest := max(sample.Ms(before.P99), 0.1)
		before99, during99 = append(before99, sample.Ms(before.P99)), append(during99, max(sample.Ms(copying.P99), sample.Ms(draining.P99)))
		ratios, helds, rates = append(ratios, max(sample.Ms(copying.P99), sample.Ms(draining.P99))/quietest), append(helds, sample.Ms(phases.Held)), append(rates, during.Rate)
	}
	fmt.Printf("# %s, %d rows at %d writes/s, medians of %d: p99 before %.1f ms, in copy and drain %.1f ms, ratio %.1f (goal 3); lock held %.1f ms (goal 20); rate kept %.0f/s\n",
		b.Name, rows, b.rate, b.rounds, sample.Median(before99), sample.Median(during99), sample.Median(ratios), sample.Median(helds), sample.Median(rates))
	return nil
}

// drop drops a large table while users write to another one, and tells what they felt of it. That is what the drop of an old table is.
func (b *bench) drop(ctx context.Context, rows int) error {
	const small = 10_000
	var longest, before99, after99 []float64
	for round := range b.rounds {
		if err := b.Create(ctx, b.db, rows); err != nil {
			return err
		}
		if err := b.Twin(ctx, b.db, "twin"); err != nil {
			return err
		}
		if err := b.Create(ctx, b.db, small); err != nil {
			return err
		}
		var n int // every page was read last by this
		if err := b.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM twin WHERE payload <> ''").Scan(&n); err != nil || n == 0 {
			return fmt.Errorf("%d rows are in the table that is to be dropped: %w", n, err)
		}
		if b.emptied {
			if err := b.empty(ctx, rows); err != nil {
				return err
			}
		}
		var from, to, took time.Duration
		users, err := b.Beside(ctx, small, b.rate, func(_ *sample.Users, began time.Time) error {
			sleep(ctx, 10*time.Second)
			from = time.Since(began)
			_, err := b.db.ExecContext(ctx, "DROP TABLE twin")
			took = time.Since(began) - from
			sleep(ctx, 3*time.Second)
			to = time.Since(began)
			return err
		})
		if err != nil {
			return err
		}
		before, after := users.Before(from), users.Between(from, to)
		fmt.Printf("BenchmarkDrop/%s/rows=%d/rate=%d 1 %d ns/op %.1f before-p99-ms %.1f after-p99-ms %.1f longest-ms\n# round %d: dropped in %.1f ms; longest write before %.1f ms, afterwards %.1f ms\n",
			b.Kind, rows, b.rate, took, sample.Ms(before.P99), sample.Ms(after.P99), sample.Ms(after.Longest), round+1, sample.Ms(took), sample.Ms(before.Longest), sample.Ms(after.Longest))
		longest, before99, after99 = append(longest, sample.Ms(after.Longest)), append(before99, sample.Ms(before.P99)), append(after99, sample.Ms(after.P99))
	}
	fmt.Printf("# %s, a table of %d rows is dropped beside %d writes/s, medians of %d: p99 before %.1f ms, in the three seconds from the drop on %.1f ms, longest write %.1f ms\n",
		b.Name, rows, b.rate, b.rounds, sample.Median(before99), sample.Median(after99), sample.Median(longest))
	return nil
}

// empty deletes the twin's rows in batches, and gives the server time to purge them.
func (b *bench) empty(ctx context.Context, rows int) error {
	const batch = 5000
	for after := 0; after < rows; after += batch {
		if _, err := b.db.ExecContext(ctx, fmt.Sprintf("DELETE FROM twin WHERE id > %d AND id <= %d", after, after+batch)); err != nil {
			return err
		}
	}
	sleep(ctx, 20*time.Second)
	return nil
}

// memory runs the command itself, so that the users and the server of this process do not count.
func (b *bench) memory(ctx context.Context, rows int) error {
	if err := b.Create(ctx, b.db, rows); err != nil {
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
	command := exec.CommandContext(ctx, binary, "run", "--fast", "--yes", "--quiet", b.Statement(0))
	command.Env = append(os.Environ(), "CHANGELING_DSN="+b.DSN)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not tell a process's memory")
	}
	fmt.Printf("BenchmarkMemory/%s/rows=%d 1 %d peak-KiB\n# peak memory of the command at %d rows: %.0f MiB (goal 64)\n", b.Kind, rows, usage.Maxrss, rows, float64(usage.Maxrss)/1024)
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
