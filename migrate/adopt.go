package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/state"
)

// foreign is another tool's version table.
type foreign struct {
	tool, table string
	format      Format
	column      string // a column that tells it from others of the same name
	query       string // -> version, name, checksum over lines, kind and two values for done; oldest first
	done        func(x, y string) bool
	latest      bool // one row stands for all versions up to its own
}

func truth(x string) bool { return x == "true" || x == "1" }

// foreigners are the tables that are known. The texts are the same for all servers: what a table has in it is its tool's. They
// compare nothing, because operators mean what the connection's search path says.
func foreigners() []foreign {
	return []foreign{
		{tool: "goose", table: "goose_db_version", format: Goose, column: "is_applied",
			query: `SELECT version_id, '', 0, '', is_applied, 0 FROM goose_db_version ORDER BY id`, done: func(x, _ string) bool { return truth(x) }},
		{tool: "golang-migrate", table: "schema_migrations", format: GolangMigrate, column: "dirty", latest: true,
			query: `SELECT version, '', 0, '', dirty, 0 FROM schema_migrations`, done: func(x, _ string) bool { return !truth(x) }},
		{tool: "sql-migrate", table: "gorp_migrations", format: SQLMigrate, column: "applied_at",
			query: `SELECT id, '', 0, '', 0, 0 FROM gorp_migrations ORDER BY applied_at, id`, done: func(string, string) bool { return true }},
		{tool: "Flyway", table: "flyway_schema_history", format: Flyway, column: "installed_rank",
			query: `SELECT version, description, checksum, type, success, 0 FROM flyway_schema_history ORDER BY installed_rank`, done: func(x, _ string) bool { return truth(x) }},
		{tool: "Atlas", table: "atlas_schema_revisions", format: Atlas, column: "operator_version",
			query: `SELECT version, description, 0, '', applied, total FROM atlas_schema_revisions ORDER BY version`, done: func(x, y string) bool { return x == y }},
	}
}

// foreign is the version table that is there, or nil. Where there are several, the one of the tree's format counts.
func (s *session) foreign(ctx context.Context) (*foreign, error) {
	var found []foreign
	for _, f := range foreigners() {
		rows, err := s.db.QueryContext(ctx, s.server.text.Columns, f.table)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				rows.Close()
				return nil, err
			}
			if strings.EqualFold(name, f.column) {
				found = append(found, f)
			}
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	if i := slices.IndexFunc(found, func(f foreign) bool { return f.format == s.tree.Format }); i >= 0 {
		return &found[i], nil
	}
	return &found[0], nil
}

// taken is one version that another tool has noted.
type taken struct {
	version, name string
	done, base    bool
	sum           int64
}

// takeOver refuses to run a tree from its beginning on a database that another tool has brought somewhere already.
func (r *run) takeOver(ctx context.Context) error {
	rows, err := r.known(ctx)
	if err != nil || len(rows) > 0 {
		return err
	}
	f, err := r.foreign(ctx)
	if err != nil || f == nil {
		return err
	}
	if r.m.config.Adopt {
		return r.adopt(ctx, f)
	}
	all, err := r.read(ctx, f)
	if err != nil || len(all) == 0 {
		return err
	}
	return &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf(
		"the database has %d versions in %s, the table of %s, and no history of changeling's: `changeling migrate adopt` takes it over, or say --adopt; nothing was run", len(all), f.table, f.tool)}
}

// Adopt takes over the version table of another tool: what it says is applied is applied from then on, with the checksums
// that the files have now. The table itself stays as it is.
func (m *Migrator) Adopt(ctx context.Context) error {
	return m.work(ctx, func(ctx context.Context, r *run) error {
		rows, err := r.known(ctx)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("there is a history of %d migrations already: nothing is taken over; see `changeling migrate status`", len(rows))}
		}
		f, err := r.foreign(ctx)
		if err != nil {
			return err
		}
		if f == nil {
			return &fault.Problem{Kind: fault.Precondition, Text: "there is no version table of goose, golang-migrate, sql-migrate, Flyway or Atlas in the connection's schema: `changeling migrate baseline VERSION` begins a history for a database without one"}
		}
		return r.adopt(ctx, f)
	})
}

func (r *run) adopt(ctx context.Context, f *foreign) error {
	all, err := r.read(ctx, f)
	if err != nil {
		return err
	}
	if f.format != r.tree.Format && r.tree.Format != Plain {
		return &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("the table %s is that of %s, and the files are those of %s: say the right one with --format; nothing was changed", f.table, f.tool, r.tree.Format)}
	}
	rows, err := r.translate(f, all)
	if err != nil {
		return err
	}
	err = r.note(ctx, func(db state.DB) error {
		for _, row := range rows {
			if err := r.store.Save(ctx, db, row); err != nil {
				return err
			}
			if err := r.store.Note(ctx, db, journal.Entry{Version: row.Version, What: "adopted", By: r.m.config.Owner, Detail: "from " + f.table}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		r.m.config.Events(event.Notice{Text: fmt.Sprintf("took over %d versions of %s", len(rows), f.table)})
	}
	return err
}

// read is what another tool has noted. A later row about a version takes an earlier one back.
func (s *session) read(ctx context.Context, f *foreign) ([]taken, error) {
	rows, err := s.db.QueryContext(ctx, f.query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []taken
	for rows.Next() {
		var version, name, kind, x, y sql.NullString
		var sum sql.NullInt64
		if err := rows.Scan(&version, &name, &sum, &kind, &x, &y); err != nil {
			return nil, err
		}
		t := taken{version: version.String, name: name.String, done: f.done(x.String, y.String), base: kind.String == "BASELINE", sum: sum.Int64}
		if f.format == Flyway && !t.base && kind.String != "SQL" && kind.String != "SQL_BASELINE" || f.format == Atlas && strings.HasPrefix(t.version, ".") {
			continue // what the tool notes of itself
		}
		if f.format != SQLMigrate {
			t.version = trimZeros(t.version)
		}
		if f.format == Goose && t.version == "0" {
			continue // it stands for the empty database
		}
		out = slices.DeleteFunc(out, func(o taken) bool { return o.version == t.version && o.name == t.name })
		if f.format == Goose && !t.done { // taken back
			continue
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

// translate makes rows of ours of what another tool has noted. What the files do not know, and what failed, is an error.
func (r *run) translate(f *foreign, all []taken) (rows []*journal.Row, err error) {
	var strangers, edited []string
	seen := map[string]bool{}
	add := func(m *Migration, status journal.Status) {
		if !seen[m.ID()] {
			seen[m.ID()] = true
			row := r.row(m, status, 0)
			row.Origin = f.table
			rows = append(rows, row)
		}
	}
	for _, t := range all {
		if !t.done {
			return nil, &fault.Problem{Kind: fault.Broken, Text: fmt.Sprintf("%s says that version %s failed in the middle: mend it with %s first, or by hand; nothing was changed", f.table, nonempty(t.version, t.name), f.tool)}
		}
		if f.latest || t.base {
			for _, m := range r.tree.Migrations {
				if !m.Repeatable && compare(m.Version, t.version) <= 0 {
					add(m, map[bool]journal.Status{true: journal.Baseline, false: journal.Applied}[t.base])
				}
			}
			if t.base {
				continue
			}
		}
		id := t.version
		if id == "" {
			id = "R:" + t.name
		}
		m := r.tree.Find(id)
		switch {
		case m == nil && t.version == "":
		case m == nil:
			strangers = append(strangers, t.version)
		default:
			if t.sum != 0 && int32(t.sum) != m.Sum.Lines {
				if m.Repeatable {
					continue // it runs again
				}
				edited = append(edited, m.String())
			}
			add(m, journal.Applied)
		}
	}
	switch {
	case len(strangers) > 0 && compare(strangers[0], r.tree.Head()) > 0:
		return nil, &fault.Problem{Kind: fault.Ahead, Text: fmt.Sprintf("%s has %s, and the newest version of the files is %q; nothing was changed", f.table, strings.Join(strangers, ", "), r.tree.Head())}
	case len(strangers) > 0:
		return nil, &fault.Problem{Kind: fault.Strange, Text: fmt.Sprintf("%s has %s, which the files do not know; nothing was changed", f.table, strings.Join(strangers, ", "))}
	case len(edited) > 0:
		return nil, &fault.Problem{Kind: fault.Edited, Text: fmt.Sprintf("the checksum in %s is another than that of the file of %s: it was edited after it ran. Put it back, or mend the table with `flyway repair`; nothing was changed", f.table, strings.Join(edited, ", "))}
	}
	return rows, nil
}
