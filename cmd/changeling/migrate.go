package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// migrating is what the subcommands of migrate share.
type migrating struct {
	app          *app
	dir          string
	format       string
	name         string
	placeholders map[string]string
	targets      string
}

func newMigrate(a *app) *cobra.Command {
	g := &migrating{app: a}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Run versioned migrations, risky statements online",
		Long: `Runs a tree of migrations as goose, golang-migrate, sql-migrate, Flyway or Atlas have it, or of plain
.sql files. The format is recognised. Any number of instances may start at once: one works, the others
wait and then find nothing to do. After a crash the same command goes on at the statement where it stood.

A statement that would stop the users of a large table goes through the engine, as 'changeling run' does it.`,
		Example: `  changeling migrate status --dir db/migrations
  changeling migrate up --dir db/migrations
  changeling migrate wait --for 20260101120000 --timeout 10m`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&g.dir, "dir", "migrations", "`directory` of the files")
	f.StringVar(&g.format, "format", "auto", "`tool` that the files were written for: goose, golang-migrate, sql-migrate, flyway, atlas, plain")
	f.StringVar(&g.name, "name", "", "`name` of the tree, where a database has several (default main)")
	f.StringVar(&g.targets, "targets", "", "`file` of databases that are done one after the other, until one fails: a name and a connection string in each line")
	f.StringToStringVar(&g.placeholders, "placeholder", nil, "`name=value` of a ${name} in files of Flyway")
	cmd.AddCommand(g.up(), g.down(), g.back(), g.to(), g.status(), g.plan(), g.validate(), g.verify(), g.newFile(), g.rebase(), g.squash(), g.adopt(), g.baseline(), g.repair(), g.wait(), g.history(), g.announce(), g.apps())
	return cmd
}

func (g *migrating) config() migrate.Config {
	c := migrate.Config{Name: g.name, Placeholders: g.placeholders}
	if g.format != "auto" {
		c.Format = migrate.Format(g.format)
	}
	return c
}

// with opens a migrator for fn and closes its pool afterwards.
func (g *migrating) with(ctx context.Context, c migrate.Config, fn func(m *migrate.Migrator) error) error {
	if info, err := os.Stat(g.dir); err != nil || !info.IsDir() {
		return usage("there is no directory %s: say with --dir where the migrations are; nothing was run", g.dir)
	}
	if g.targets == "" {
		return g.on(ctx, c, fn)
	}
	all, err := readTargets(g.targets)
	if err != nil {
		return err
	}
	return g.app.onTargets(all, func() error { return g.on(ctx, c, fn) })
}

// on is with, for the database that is named now.
func (g *migrating) on(ctx context.Context, c migrate.Config, fn func(m *migrate.Migrator) error) error {
	db, err := g.app.connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is in flight any more
	c.Engine = g.app.following(c.Engine)
	m, err := migrate.New(db, os.DirFS(g.dir), c)
	if err != nil {
		return err
	}
	return fn(m)
}

// running are the flags of subcommands that change the database.
type running struct {
	working
	wait       time.Duration
	patience   time.Duration
	lease      time.Duration
	outOfOrder string
	detach     bool
	direct     bool
	adopt      bool
	ahead      bool
	deployed   bool
	lossy      bool
}

func (w *running) flags(a *app, cmd *cobra.Command) {
	w.working.flags(a, cmd)
	f := cmd.Flags()
	f.DurationVar(&w.wait, "wait", 15*time.Minute, "how long to wait for another instance, a `duration`; 0: not at all")
	f.DurationVar(&w.patience, "patience", 5*time.Minute, "how long locks are tried for, a `duration`")
	f.DurationVar(&w.lease, "lease", 30*time.Second, "how long an instance may be silent before another takes over, a `duration`")
	f.DurationVar(&w.lockWait, "lock-timeout", 0, "the longest wait for a lock, and so of those who queue behind it, a `duration` (default 200ms)")
	f.StringVar(&w.outOfOrder, "out-of-order", "error", "what becomes of a migration that is missing below an applied one, a `policy`: error, apply, skip")
	f.BoolVar(&w.detach, "detach", false, "begin changes of large tables and leave them to 'changeling work', or to 'changeling resume ID'")
	f.BoolVar(&w.direct, "direct", false, "run every statement as it is, without the engine")
	f.BoolVar(&w.adopt, "adopt", false, "take over another tool's version table, if there is one and no history")
	f.BoolVar(&w.ahead, "allow-ahead", false, "a database that is newer than the files needs nothing")
	f.BoolVar(&w.deployed, "deployed", false, "the deploy has happened that migrations wait for between their phases")
	f.BoolVar(&w.lossy, "allow-data-loss", false, "a way back may drop what holds data")
}

func (w *running) config(a *app, c migrate.Config) (migrate.Config, error) {
	engine, err := w.working.config(a)
	if err != nil {
		return c, err
	}
	c.Engine, c.Events = engine, engine.Events
	c.Wait, c.Patience, c.Lease, c.LockWait = w.wait, w.patience, w.lease, w.lockWait
	if c.Wait == 0 {
		c.Wait = -1
	}
	if c.OutOfOrder = migrate.Policy(w.outOfOrder); w.outOfOrder == "error" {
		c.OutOfOrder = migrate.OrderError
	}
	c.Detach, c.Direct, c.Adopt, c.AllowAhead, c.AllowDataLoss, c.Deployed = w.detach, w.direct, w.adopt, w.ahead, w.lossy, w.deployed
	return c, nil
}

// runs is a subcommand that changes the database and says what it did.
func (g *migrating) runs(cmd *cobra.Command, do func(ctx context.Context, m *migrate.Migrator, args []string) (*migrate.Result, error)) *cobra.Command {
	var w running
	w.flags(g.app, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := w.config(g.app, g.config())
		if err != nil {
			return err
		}
		return g.with(cmd.Context(), c, func(m *migrate.Migrator) error {
			res, err := do(cmd.Context(), m, args)
			if err == nil && res.Nothing() {
				c.Events(event.Notice{Text: "nothing to do"})
			}
			return err
		})
	}
	return cmd
}

func (g *migrating) up() *cobra.Command {
	var to string
	cmd := g.runs(&cobra.Command{
		Use: "up", Short: "Apply what is pending", Args: cobra.NoArgs,
		Example: `  changeling migrate up --dir db/migrations
  changeling migrate up --to 20260101120000 --out-of-order apply`,
	}, func(ctx context.Context, m *migrate.Migrator, _ []string) (*migrate.Result, error) {
		return m.Up(ctx, to)
	})
	cmd.Flags().StringVar(&to, "to", "", "the last `version` to apply, or its beginning (default: the newest)")
	return cmd
}

func (g *migrating) down() *cobra.Command {
	var steps int
	cmd := g.runs(&cobra.Command{
		Use: "down", Short: "Take the newest migrations back", Args: cobra.NoArgs, Example: `  changeling migrate down --steps 2 --allow-data-loss`,
	}, func(ctx context.Context, m *migrate.Migrator, _ []string) (*migrate.Result, error) {
		return m.Down(ctx, steps)
	})
	cmd.Flags().IntVar(&steps, "steps", 1, "`number` of migrations")
	return cmd
}

func (g *migrating) to() *cobra.Command {
	return g.runs(&cobra.Command{
		Use: "to VERSION", Short: "Go to a version, forward or back; 0 is before the first", Args: one("the version to go to"), Example: `  changeling migrate to 20260101`,
	}, func(ctx context.Context, m *migrate.Migrator, args []string) (*migrate.Result, error) {
		return m.To(ctx, args[0])
	})
}

func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s is expected, not %d arguments", what, len(args))
		}
		return nil
	}
}

// changes is a subcommand that changes the history and nothing else.
func (g *migrating) changes(cmd *cobra.Command, do func(ctx context.Context, m *migrate.Migrator, args []string) (string, error)) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := g.config()
		c.Events = event.Lines(g.app.out)
		return g.with(cmd.Context(), c, func(m *migrate.Migrator) error {
			text, err := do(cmd.Context(), m, args)
			if err == nil && text != "" {
				g.app.printf("%s\n", text)
			}
			return err
		})
	}
	return cmd
}

func (g *migrating) adopt() *cobra.Command {
	return g.changes(&cobra.Command{
		Use: "adopt", Short: "Take over the version table of another tool", Args: cobra.NoArgs, Example: `  changeling migrate adopt --dir db/migrations`,
	}, func(ctx context.Context, m *migrate.Migrator, _ []string) (string, error) { return "", m.Adopt(ctx) })
}

func (g *migrating) baseline() *cobra.Command {
	return g.changes(&cobra.Command{
		Use: "baseline VERSION", Short: "Say that a database has all up to a version", Args: one("the version that the database has"), Example: `  changeling migrate baseline 20250101`,
	}, func(ctx context.Context, m *migrate.Migrator, args []string) (string, error) {
		return "the history begins behind " + args[0], m.Baseline(ctx, args[0])
	})
}

func (g *migrating) repair() *cobra.Command {
	var verdict string
	cmd := g.changes(&cobra.Command{
		Use: "repair", Short: "Accept edited files, settle a statement of unknown outcome", Args: cobra.NoArgs,
		Example: `  changeling migrate repair
  changeling migrate repair --step done`,
	}, func(ctx context.Context, m *migrate.Migrator, _ []string) (string, error) {
		did, err := m.Repair(ctx, migrate.Verdict(verdict))
		if len(did) == 0 {
			did = []string{"nothing to repair"}
		}
		return strings.Join(did, "\n"), err
	})
	cmd.Flags().StringVar(&verdict, "step", "", "a statement that a run died in is `done` or undone")
	return cmd
}

func (g *migrating) wait() *cobra.Command {
	var version string
	var timeout time.Duration
	var check bool
	cmd := &cobra.Command{
		Use: "wait", Short: "Wait until a version is applied by whoever applies it", Args: cobra.NoArgs,
		Example: `  changeling migrate wait --for 20260101120000 --timeout 10m
  changeling migrate wait --check`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return g.with(ctx, g.config(), func(m *migrate.Migrator) error {
				if check {
					return m.Require(ctx, version)
				}
				return m.Wait(ctx, version)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&version, "for", "", "the `version`, or its beginning (default: the newest of the files)")
	f.DurationVar(&timeout, "timeout", 15*time.Minute, "how long, a `duration`")
	f.BoolVar(&check, "check", false, "do not wait: exit 0 if it is applied, 10 if not")
	return cmd
}

func (g *migrating) newFile() *cobra.Command {
	return &cobra.Command{
		Use: "new NAME", Short: "Make the files of a new migration", Args: one("a name for the migration"), Example: `  changeling migrate new add_users`,
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := migrate.Read(os.DirFS(g.dir), migrate.ReadOptions{Format: g.config().Format, Syntax: g.syntax(), Placeholders: g.placeholders})
			if err != nil {
				return err
			}
			files, err := migrate.NewFiles(t, args[0], time.Now())
			if err != nil {
				return err
			}
			for _, f := range files {
				path := filepath.Join(g.dir, f.Name)
				out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
				if err != nil {
					return usage("%s cannot be made: %v", path, err)
				}
				_, err = out.WriteString(f.Body)
				if err := errors.Join(err, out.Close()); err != nil {
					return err
				}
				g.app.printf("%s\n", path)
			}
			return nil
		},
	}
}

// syntax is that of the server that the connection string names; nothing is connected to.
func (g *migrating) syntax() plan.Syntax {
	if dsn, _ := g.app.source(); isMySQL(dsn) {
		return plan.MySQLSyntax()
	}
	return plan.PostgresSyntax()
}

// scratch makes an empty database on the server for fn, and drops it afterwards.
func (g *migrating) scratch(ctx context.Context, fn func(db *sql.DB) error) (err error) {
	admin, err := g.app.open()
	if err != nil {
		return err
	}
	defer admin.Close()
	name := fmt.Sprintf("changeling_scratch_%d_%d", os.Getpid(), time.Now().UnixNano()%1e9)
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return &fault.Problem{Kind: fault.Precondition, Err: err, Text: "an empty database beside yours is needed, and cannot be made: " + fault.Message(err) + ". Grant CREATE DATABASE, or use another server; nothing was changed"}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_, dropErr := admin.ExecContext(ctx, "DROP DATABASE "+name)
		err = errors.Join(err, dropErr)
	}()
	db, err := g.app.openDatabase(name)
	if err != nil {
		return err
	}
	defer db.Close()
	return fn(db)
}
