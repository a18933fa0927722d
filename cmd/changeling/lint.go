package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/lint"
	"github.com/changeling-db/changeling/migrate"
	"github.com/changeling-db/changeling/plan"
)

// linting is what the command line says about what to judge.
type linting struct {
	target, format, names, after string
	json, sarif, github          bool
	migrate, strict, down        bool
	fix, diff                    bool
	enable, disable, small       []string
	placeholders                 map[string]string
}

func newLint(a *app) *cobra.Command {
	var l linting
	cmd := &cobra.Command{
		Use:   "lint FILE… --for SERVER",
		Short: "Judge migration files: what would stop users, break code or lose data",
		Long: `Reads migration files, or directories of them, and says which statements would stop users, break
code that is running or lose data, and how to do the same safely. It needs no database. With --dsn
it asks one that has the tables: what an empty twin shows outranks the rules. Nothing is changed.

docs/LINT.md has all rules. A comment before a statement leaves one alone, with the reason:

  -- changeling: ignore L43 the table is empty until the release

It exits 3 if there is an error, with --strict also if there is a warning.`,
		Example: `  changeling lint db/migrations --for postgres:16
  changeling lint --for mysql:8.4 --github $(git diff --name-only origin/main -- '*.sql')
  changeling lint db/migrations --for mariadb:10.11 --sarif > lint.sarif
  changeling lint db/migrations --dsn postgres://app@replica/shop --start-after 0042
  changeling lint db/migrations --for postgres:16 --start-after 0042 --diff   # then --fix`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no file to judge: give files or directories, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.run(cmd.Context(), a, args, cmd.Flags().Changed("dsn"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&l.target, "for", "", "the `server` that the files are for: postgres:16, mysql:8.4, mariadb:10.11 (default: that of --dsn)")
	f.BoolVar(&l.json, "json", false, "print the findings as JSON")
	f.BoolVar(&l.sarif, "sarif", false, "print the findings as SARIF 2.1.0")
	f.BoolVar(&l.github, "github", false, "print the findings as annotations for GitHub")
	f.BoolVar(&l.migrate, "migrate", false, "`changeling migrate` runs the files: what it makes safe by itself is only noted")
	f.Lookup("migrate").Usage = "'changeling migrate' runs the files: what it makes safe by itself is only noted"
	f.BoolVar(&l.fix, "fix", false, "rewrite the files where other words are all it takes, then say what is left")
	f.BoolVar(&l.diff, "diff", false, "print what --fix would rewrite, as a patch, and change nothing; exit 10 if there is something")
	f.BoolVar(&l.strict, "strict", false, "exit 3 for warnings too")
	f.BoolVar(&l.down, "down", false, "judge the ways back too")
	f.StringVar(&l.format, "format", "auto", "`tool` that the files were written for, as for migrate")
	f.StringToStringVar(&l.placeholders, "placeholder", nil, "`name=value` of a ${name} in files of Flyway")
	f.StringVar(&l.after, "start-after", "", "the last `version` that was released: it and those before are read for what they make, and not judged")
	f.StringSliceVar(&l.enable, "enable", nil, "`rules` that are off by default: L69,L36")
	f.StringSliceVar(&l.disable, "disable", nil, "`rules` to leave out")
	f.StringSliceVar(&l.small, "small", nil, "`tables` that are small: what reads or writes all of their rows is only noted")
	f.StringVar(&l.names, "names", "", "regular `expression` that new names must match (rule L75)")
	return cmd
}

func (l *linting) run(ctx context.Context, a *app, args []string, ask bool) error {
	if several(l.json, l.sarif, l.github) {
		return usage("--json, --sarif and --github are forms of one answer: give one of them")
	}
	if l.diff && (l.fix || l.json || l.sarif || l.github) {
		return usage("--diff prints a patch and changes nothing: give it without --fix, --json, --sarif and --github")
	}
	if l.fix && slices.Contains(args, "-") {
		return usage("--fix rewrites files, and standard input is none: --diff prints what it would do")
	}
	o := lint.Options{Engine: l.migrate, Enable: l.enable, Disable: l.disable, Small: l.small}
	if l.names != "" {
		names, err := regexp.Compile(l.names)
		if err != nil {
			return usage("--names: %v", err)
		}
		o.Names = names
	}
	if l.target == "" && !ask {
		return usage("for which server? --for postgres:16, or a database that can be asked with --dsn")
	}
	if l.target != "" {
		var err error
		if o.Target, err = lint.ParseTarget(l.target); err != nil {
			return usage("--for: %v", err)
		}
	}
	if !ask {
		return l.judge(ctx, a, args, o)
	}
	db, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer db.Close() // nothing is in flight any more
	if l.target == "" {
		var version string
		if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
			return err
		}
		if o.Target, err = lint.ParseTarget(server(version)); err != nil {
			return &fault.Problem{Kind: fault.Refused, Text: err.Error(), Err: err}
		}
	}
	e, err := changeling.Open(ctx, db, a.following(changeling.Config{}))
	if err != nil {
		return err
	}
	defer e.Close()
	o.Rehearse = func(text string) (*lint.Rehearsal, error) { return rehearsed(ctx, e, text) }
	return l.judge(ctx, a, args, o)
}

// server is what version() answers in the form of --for.
func server(version string) string {
	kind := "mysql:"
	switch {
	case strings.HasPrefix(version, "PostgreSQL "):
		kind, version = "postgres:", strings.TrimPrefix(version, "PostgreSQL ")
	case strings.Contains(version, "MariaDB"):
		kind = "mariadb:"
	}
	end := strings.IndexFunc(version, func(c rune) bool { return c != '.' && (c < '0' || c > '9') })
	if end < 0 {
		end = len(version)
	}
	return kind + strings.TrimRight(version[:end], ".")
}

// rehearsed is what a database says of a statement. That it cannot say anything is no error.
func rehearsed(ctx context.Context, e *changeling.Engine, text string) (*lint.Rehearsal, error) {
	p, err := e.Plan(ctx, text)
	switch {
	case fault.Code(err) == "42601":
		return &lint.Rehearsal{Syntax: fault.Message(err)}, nil
	case fault.Lost(err), fault.Canceled(err), errors.Is(err, context.Canceled):
		return nil, err
	case err != nil:
		return nil, nil // a table that an earlier migration makes, a right that is missing: the rules decide
	}
	out := &lint.Rehearsal{Effect: p.Effect, Route: p.Route, Why: p.Why}
	if p.Effect == "" && p.Route == plan.Direct {
		out.Effect = "direct"
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, s.Name)
	}
	return out, nil
}

func (l *linting) judge(ctx context.Context, a *app, args []string, o lint.Options) error {
	files, err := l.load(ctx, a, args, o.Target)
	if err != nil {
		return err
	}
	if l.diff {
		return l.differ(a, files, o)
	}
	if l.fix {
		if err := l.rewrite(a, files, o); err != nil {
			return err
		}
	}
	found, count, err := l.check(files, o)
	if err != nil {
		return err
	}
	report := lint.NewReport(o.Target, count, found)
	switch {
	case l.json:
		err = report.JSON(a.out)
	case l.sarif:
		err = report.SARIF(a.out)
	case l.github:
		err = report.GitHub(a.out)
	default:
		err = report.Text(a.out)
	}
	if worst := lint.Worst(found); err == nil && (worst == lint.Error || l.strict && worst == lint.Warning) {
		return ended(3)
	}
	return err
}

// check judges files, and says how many scripts were judged.
func (l *linting) check(files []judged, o lint.Options) ([]lint.Finding, int, error) {
	scripts, err := l.scripts(files)
	if err != nil {
		return nil, 0, err
	}
	found, err := lint.Check(scripts, o)
	switch {
	case err == nil:
	case fault.KindOf(err) != fault.Unexpected || fault.Lost(err) || fault.Canceled(err):
		return nil, 0, err
	default:
		return nil, 0, usage("%v", err)
	}
	count := 0
	for _, s := range scripts {
		if !s.Known {
			count++
		}
	}
	return found, count, nil
}

// judged is a file, as it is read.
type judged struct {
	input
	as migrate.ReadOptions
}

// load reads all files.
func (l *linting) load(ctx context.Context, a *app, args []string, t lint.Target) ([]judged, error) {
	o := migrate.ReadOptions{Syntax: t.Syntax(), Placeholders: l.placeholders}
	if l.format != "auto" {
		o.Format = migrate.Format(l.format)
	}
	var out []judged
	for _, arg := range args {
		files, format := []string{arg}, o.Format
		if arg != "-" {
			var err error
			if files, format, err = below(arg); err != nil {
				return nil, err
			}
		}
		one := o
		if one.Format == migrate.Auto {
			one.Format = format
		}
		for _, f := range files {
			in, err := load(ctx, a, f)
			if err != nil {
				return nil, err
			}
			out = append(out, judged{in, one})
		}
	}
	return out, nil
}

// scripts are what the files have, in the order in which they run.
func (l *linting) scripts(files []judged) ([]lint.Script, error) {
	var out []lint.Script
	for _, f := range files {
		sources, err := migrate.Sources(filepath.ToSlash(f.file), f.text, f.as)
		if err != nil {
			return nil, err
		}
		for _, s := range sources {
			if s.Down && !l.down || len(s.Statements) == 0 {
				continue
			}
			out = append(out, script(s, l.after))
		}
	}
	slices.SortStableFunc(out, func(a, b lint.Script) int {
		if a.Version == "" || b.Version == "" {
			return 0
		}
		return migrate.CompareVersions(a.Version, b.Version)
	})
	return out, nil
}

// below are the .sql files of a directory, in the order of their names, with the directory's format; or the file itself.
func below(name string) ([]string, migrate.Format, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, migrate.Auto, usage("%v", err)
	}
	if !info.IsDir() {
		return []string{name}, migrate.Auto, nil
	}
	format, err := migrate.Recognise(os.DirFS(name))
	if err != nil {
		return nil, format, err
	}
	var out []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".sql" && !strings.HasPrefix(d.Name(), ".") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		return nil, format, usage("%v", err)
	}
	slices.SortFunc(out, migrate.CompareVersions)
	return out, format, nil
}

// script is a file as the rules see it.
func script(s migrate.Source, after string) lint.Script {
	out := lint.Script{File: s.File, Version: s.Version, Down: s.Down, OneWay: s.OneWay, Ignore: s.Ignore,
		Wrapped: s.Tx != migrate.TxNever && s.Format != migrate.GolangMigrate && s.Format != migrate.Plain || s.Tx == migrate.TxAlways,
		Known:   after != "" && s.Version != "" && migrate.CompareVersions(s.Version, strings.TrimLeft(after, "0")) <= 0}
	for _, st := range s.Statements {
		out.Statements = append(out.Statements, lint.Statement{SQL: st.SQL, Line: st.Line, Ignore: st.Ignore})
	}
	return out
}
