package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A statement may be for all tables of a pattern: `-- changeling: tables task_host_*` before it, and {table} in it (NR9). It is a
// statement for each of them, with a record of each. Which tables these are is noted when the migration begins, and does not change
// until it has ended.

// theTable is what stands for the name of a table.
const theTable = "{table}"

// listed is the direction of the journal's steps that note which tables a pattern is.
const listed = "tables"

// patterned reads the pattern of an annotation.
func patterned(text string) (string, error) {
	if _, err := path.Match(text, ""); err != nil || strings.ContainsAny(text, " \t/.") {
		return "", fmt.Errorf("changeling: tables %s: expected a name with * and ?, such as task_host_*", text)
	}
	return text, nil
}

// spread makes a statement one for each table that it is for.
func (r *run) spread(ctx context.Context, p *program, s Statement) ([]Statement, error) {
	if s.Tables == "" {
		return []Statement{s}, nil
	}
	if !strings.Contains(s.SQL, theTable) {
		return nil, usage("migration %s: %s:%d is for the tables %s, and does not say %s where their name belongs", p.migration, p.script.File, s.Line, s.Tables, theTable)
	}
	names, err := r.fitting(ctx, p, s)
	if err != nil {
		return nil, err
	}
	var out []Statement
	for i, name := range names {
		one := s
		if one.SQL = strings.ReplaceAll(s.SQL, theTable, r.server.quoted(schema.Name{Table: name})); i > 0 {
			one.Gate = nil
		}
		out = append(out, one)
	}
	return out, nil
}

// fitting are the tables of a pattern as they were when the migration began, or as they are now.
func (r *run) fitting(ctx context.Context, p *program, s Statement) (names []string, err error) {
	seq := s.Line
	if p.direction == down {
		seq = -s.Line
	}
	key := hash(s.Tables)
	if r.lease != nil {
		kept, err := r.store.Steps(ctx, r.db, p.migration.ID(), listed)
		if err != nil {
			return nil, err
		}
		if x := kept[seq]; x != nil && x.Hash == key {
			return names, json.Unmarshal([]byte(x.SQL), &names)
		}
	}
	query := postgres.Tables
	if r.server.mysql {
		query = mysql.Tables
	}
	rows, err := r.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if ok, _ := path.Match(s.Tables, name); ok { // the pattern was read before
			names = append(names, name)
		}
	}
	if err := rows.Err(); err != nil || r.lease == nil {
		return names, err
	}
	slices.SortFunc(names, compare)
	if len(names) == 0 {
		r.m.config.Events(event.Notice{Text: fmt.Sprintf("no table fits %s, of %s:%d", s.Tables, p.script.File, s.Line)})
	}
	text, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	return names, r.note(ctx, func(db state.DB) error {
		return r.store.Begin(ctx, db, p.migration.ID(), &journal.Step{Direction: listed, Seq: seq, Hash: key, SQL: string(text)})
	})
}

// marked is the part of a statement that a checksum is taken of.
func (s Statement) marked(syntax plan.Syntax) string {
	if s.Tables == "" {
		return normal(s.SQL, syntax)
	}
	return s.Tables + "\x01" + normal(s.SQL, syntax)
}
