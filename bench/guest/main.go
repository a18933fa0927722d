// Command guest measures what users feel of a change, phase by phase, while they keep a server busy to a quarter, a half and four fifths.
//
//	go run ./bench/guest                       PostgreSQL
//	go run ./bench/guest -db mysql -peer       and of pt-online-schema-change (percona-toolkit), on PostgreSQL of pg_repack
//	go run ./bench/guest -loads 50 -rounds 5
//
// How much the server can take is measured first, by users who do not wait. Latency counts from the moment a write was due. Ratios are to the
// seconds before the change in the same round; medians of all rounds are told. On a shared machine only ratios mean something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
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
	rows := flag.Int("rows", 500_000, "rows of the table that is changed")
	loads := flag.String("loads", "25,50,80", "percent of what the server can take, comma separated")
	warm := flag.Duration("warm", 10*time.Second, "how long users write before the change begins; the last half of it, or 8 s, is what is called before")
	rounds := flag.Int("rounds", 5, "rounds, interleaved; medians are told")
	fast := flag.Bool("fast", true, "also change it with --fast")
	triggers := flag.Bool("triggers", false, "on MySQL and MariaDB use triggers and not the binary log")
	peer := flag.Bool("peer", false, "also run pg_repack or pt-online-schema-change, which has to be installed")
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
		g := &guest{Server: server, rows: *rows, rounds: *rounds, warm: *warm, triggers: *triggers}
		g.ways = append(g.ways, way{name: "default", do: g.change(false)})
		if *fast {
			g.ways = append(g.ways, way{name: "--fast", do: g.change(true)})
		}
		if *peer {
			g.ways = append(g.ways, g.peer())
		}
		err = errors.Join(g.run(ctx, *loads), server.Stop())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// guest is one server, and who changes its table.
type guest struct {
	*sample.Server
	rows, rounds int
	warm         time.Duration
	triggers     bool
	ways         []way
}

// way is somebody who changes the table orders. He answers when his phases were, nil if he has none.
type way struct {
	name string
	do   func(context.Context) (*sample.Phases, error)
}

func (g *guest) change(fast bool) func(context.Context) (*sample.Phases, error) {
	return func(ctx context.Context) (*sample.Phases, error) {
		db, err := g.Open()
		if err != nil {
			return nil, err
		}
		defer db.Close()
		p := sample.NewPhases()
		c := changeling.Config{Fast: fast, DropAfter: changeling.DropNow, Events: p.Sink}
		if g.Kind != "postgres" && !g.triggers {
			c.Binlog = g.DSN
		}
		return p, changeling.Apply(ctx, db, g.Statement(0), c)
	}
}

func (g *guest) peer() way {
	if g.Kind == "postgres" {
		return way{"pg_repack", func(ctx context.Context) (*sample.Phases, error) {
			_, err := g.Repack(ctx, "orders")
			return nil, err
		}}
	}
	return way{"pt-online-schema-change", func(ctx context.Context) (*sample.Phases, error) {
		_, err := g.Percona(ctx, "orders", 0)
		return nil, err
	}}
}

func (g *guest) run(ctx context.Context, loads string) error {
	most, err := g.most(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("# %s, %d rows: it takes %d writes/s of users who do not wait\n", g.Name, g.rows, most)
	for field := range strings.FieldsFuncSeq(loads, func(r rune) bool { return r == ',' }) {
		percent, err := strconv.Atoi(field)
		if err != nil {
			return fmt.Errorf("-loads: %w", err)
		}
		felt := make([]felt, len(g.ways))
		for range g.rounds {
			for i, w := range g.ways {
				if err := g.round(ctx, w, max(most*percent/100, 1), &felt[i]); err != nil {
					return fmt.Errorf("%s at %d %%: %w", w.name, percent, err)
				}
			}
		}
		for i, w := range g.ways {
			felt[i].print(fmt.Sprintf("%s/load=%d/%s", g.Kind, percent, w.name))
		}
	}
	return nil
}

// most is how many writes a second the server takes from 8 users who do not wait.
func (g *guest) most(ctx context.Context) (int, error) {
	var writes int
	_, err := g.beside(ctx, 1_000_000, func(u *sample.Users, began time.Time) error {
		time.Sleep(10 * time.Second)
		took := time.Since(began)
		writes = int(float64(u.Acknowledged()) / took.Seconds())
		return nil
	})
	return writes, err
}

// round has the table changed once under load, and notes what users felt.
func (g *guest) round(ctx context.Context, w way, rate int, f *felt) error {
	var from, to time.Duration
	var phases *sample.Phases
	var start time.Time
	users, err := g.beside(ctx, rate, func(_ *sample.Users, began time.Time) (err error) {
		start = began
		time.Sleep(g.warm)
		from = time.Since(began)
		phases, err = w.do(ctx)
		to = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	before := users.Before(from)
	f.note("before", before, before)
	f.note("all of it", before, users.Between(from, to))
	f.took = append(f.took, (to - from).Seconds())
	if phases == nil {
		return nil
	}
	f.held = append(f.held, sample.Ms(phases.Held))
	for _, step := range []string{"copy", "build", "drain", "verify", "cutover"} {
		f.note(step, before, users.Between(phases.Window(start, step)))
	}
	return nil
}

// beside makes the table, and has users write to it while something is done.
func (g *guest) beside(ctx context.Context, rate int, do func(u *sample.Users, began time.Time) error) (*sample.Users, error) {
	db, err := g.Open()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if g.Kind == "postgres" {
		if _, err := db.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS pg_repack"); err != nil && slices.ContainsFunc(g.ways, func(w way) bool { return w.name == "pg_repack" }) {
			return nil, err
		}
	}
	if err := g.Create(ctx, db, g.rows); err != nil {
		return nil, err
	}
	return g.Beside(ctx, g.rows, rate, do)
}

// felt is what users felt of one way at one load, by phases.
type felt struct {
	order                  []string
	p50, p99, ratio, share map[string][]float64 // a value a round: ms, ms, p99 to that before, writes a second to those before
	took, held             []float64            // seconds, ms
}

func (f *felt) note(phase string, before, w sample.Window) {
	if w.Writes == 0 { // it took no time
		return
	}
	if f.p50 == nil {
		f.p50, f.p99, f.ratio, f.share = map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	}
	if f.p50[phase] == nil {
		f.order = append(f.order, phase)
	}
	f.p50[phase] = append(f.p50[phase], sample.Ms(w.P50))
	f.p99[phase] = append(f.p99[phase], sample.Ms(w.P99))
	f.ratio[phase] = append(f.ratio[phase], sample.Ms(w.P99)/max(sample.Ms(before.P99), 0.1))
	f.share[phase] = append(f.share[phase], w.Rate/before.Rate)
}

func (f *felt) print(name string) {
	var parts []string
	for _, phase := range f.order {
		part := fmt.Sprintf("%s %.1f/%.1f", phase, sample.Median(f.p50[phase]), sample.Median(f.p99[phase]))
		if phase != "before" {
			part += fmt.Sprintf(" (%.1f)", sample.Median(f.ratio[phase]))
		}
		parts = append(parts, part)
	}
	fmt.Printf("BenchmarkGuest/%s %d %.0f ns/op %.1f before-p99-ms %.1f during-p99-ms %.2f rate-kept\n", name, len(f.took), sample.Median(f.took)*1e9,
		sample.Median(f.p99["before"]), sample.Median(f.p99["all of it"]), sample.Median(f.share["all of it"]))
	held := ""
	if len(f.held) > 0 {
		held = fmt.Sprintf("; lock held %.1f ms", sample.Median(f.held))
	}
	fmt.Printf("# %s, medians of %d: p50/p99 ms %s; rate kept %.2f; it took %.1f s%s\n", name, len(f.took), strings.Join(parts, ", "), sample.Median(f.share["all of it"]), sample.Median(f.took), held)
}
