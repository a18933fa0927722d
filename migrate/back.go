package migrate

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/journal"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// A migration without a way back of its own gets one that is made: before each statement the definition of its table is
// noted, and when it has run, the difference to what it became is what leads back. So no statement has to be understood, but for
// those that rename, which look like a loss. The notes are steps of the journal in a direction of their own.
const back = "back"

// way is the way back of one statement, as it is noted.
type way struct {
	Of   string        `json:"of"` // the statement
	Then *schema.Table `json:"then,omitempty"`
	// Subject is the table that is compared afterwards; empty: what leads back is known from the words alone.
	Subject schema.Name `json:"subject"`
	Made    bool        `json:"made"`
	schema.Back
}

// noting says that the way back of a program is to be made.
func (p *program) noting() bool {
	return p.direction == up && p.migration.Down == nil && p.migration.Go == nil && !p.migration.Repeatable
}

// begin notes the way back of a statement, before it runs, in a transaction.
func (r *run) begin(ctx context.Context, tx state.DB, p *program, u *unit, i int) (*way, error) {
	w := &way{Of: u.statements[i].SQL}
	first := r.server.look(u.statements[i])
	if err := r.subject(ctx, tx, first, w); err != nil {
		return nil, err
	}
	if w.Subject.Table != "" && first.verb != "CREATE TABLE" {
		var err error
		if w.Then, err = r.define(ctx, tx, w.Subject); err != nil {
			return nil, err
		}
		if w.Then == nil { // IF EXISTS, or it fails
			w.Made = true
		}
	}
	return w, r.keep(ctx, tx, p, u, i, w)
}

// recall is the way back of a statement as a run that died has begun it: the table may be what it made of it already.
func (r *run) recall(ctx context.Context, tx state.DB, p *program, u *unit, i int) (*way, error) {
	kept, err := r.store.Steps(ctx, tx, p.migration.ID(), back)
	if err != nil {
		return nil, err
	}
	w := &way{Of: u.statements[i].SQL, Made: true, Back: schema.Back{Why: "nothing was noted as it began"}}
	if x := kept[place(u, i)]; x != nil && x.Hash == u.hash {
		*w = way{}
		return w, json.Unmarshal([]byte(x.SQL), w)
	}
	return w, r.keep(ctx, tx, p, u, i, w)
}

// end completes the way back of a statement that has run.
func (r *run) end(ctx context.Context, tx state.DB, p *program, u *unit, i int, w *way) error {
	if w.Made {
		return nil
	}
	if w.Made = true; w.Subject.Table != "" && w.Why == "" {
		n := w.Subject
		if w.Then == nil && !r.server.mysql { // it was made a moment ago, in the first schema of the path
			var err error
			if n, err = postgres.Where(ctx, tx, postgres.Found, n); err != nil {
				return err
			}
		}
		var now *schema.Table
		if n.Table != "" {
			var err error
			if now, err = r.define(ctx, tx, n); err != nil {
				return err
			}
		}
		made := r.server.wayBack(now, w.Then)
		if renames := w.SQL; len(renames) == 0 {
			w.Back = made
		}
	}
	return r.keep(ctx, tx, p, u, i, w)
}

// place is the number that the note of a statement has.
func place(u *unit, i int) int { return u.seq*1000 + i }

func (r *run) keep(ctx context.Context, db state.DB, p *program, u *unit, i int, w *way) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return r.store.Begin(ctx, db, p.migration.ID(), &journal.Step{Direction: back, Seq: place(u, i), Hash: u.hash, SQL: string(text)})
}

func (r *run) define(ctx context.Context, tx state.DB, n schema.Name) (*schema.Table, error) {
	if r.server.mysql {
		return mysql.Define(ctx, tx, n)
	}
	return postgres.Define(ctx, tx, n)
}

func (sv server) wayBack(now, then *schema.Table) schema.Back {
	if sv.mysql {
		return mysql.WayBack(now, then)
	}
	return postgres.WayBack(now, then)
}

var (
	renameIndex = regexp.MustCompile(`^ALTER INDEX (IF EXISTS )?(\S+(?: \. \S+)?) RENAME TO (\S+)$`)
	renameTable = regexp.MustCompile(`^RENAME TABLE (\S+(?: \. \S+)?) TO (\S+(?: \. \S+)?)$`)
	indexOn     = regexp.MustCompile(`^DROP INDEX (?:IF EXISTS )?\S+ ON (\S+(?: \. \S+)?)`)
	// What a DROP of the same word takes away.
	dropped = regexp.MustCompile(`^CREATE (MATERIALIZED VIEW|VIEW|SEQUENCE|TYPE|SCHEMA|DOMAIN)$`)
	// What changes no definition and no row.
	harmless = regexp.MustCompile(`^(SET|RESET|USE|ANALYZE|VACUUM|CHECKPOINT|OPTIMIZE)\b`)
	rowsOnly = regexp.MustCompile(`^(INSERT|UPDATE|DELETE|REPLACE|MERGE|TRUNCATE|COPY|LOAD|WITH|CALL|DO|SELECT)\b`)
)

// subject finds out what a statement is about: a table whose definitions are compared, or words that can be turned around.
func (r *run) subject(ctx context.Context, tx state.DB, first parsed, w *way) error {
	st, err := plan.Parse(first.SQL, r.server.syntax)
	plain := strings.TrimSpace(normal(first.SQL, r.server.syntax))
	switch {
	case harmless.MatchString(first.words), first.class == setting:
		w.Made = true
		return nil
	case rowsOnly.MatchString(first.words):
		w.Why = "it is about rows, not about definitions"
		return nil
	case err != nil:
		w.Why = "it cannot be read: " + err.Error()
		return nil
	case st.Cascade || slices.ContainsFunc(st.Clauses, func(c plan.Clause) bool { return c.Cascade }):
		w.Why = "CASCADE takes away what is not the table's"
		return nil
	case renameIndex.MatchString(first.words):
		m := renameIndex.FindStringSubmatchIndex(first.words)
		old, renamed := r.server.name(plain[m[4]:m[5]]), r.server.name(plain[m[6]:m[7]])
		w.SQL = []string{"ALTER INDEX " + r.server.quoted(schema.Name{Schema: old.Schema, Table: renamed.Table}) + " RENAME TO " + ident.Quote(old.Table)}
		return nil
	case renameTable.MatchString(first.words):
		m := renameTable.FindStringSubmatchIndex(first.words)
		w.SQL = []string{"RENAME TABLE " + r.server.quoted(r.server.name(plain[m[4]:m[5]])) + " TO " + r.server.quoted(r.server.name(plain[m[2]:m[3]]))}
		return nil
	case dropped.MatchString(st.Verb) && len(st.Objects) == 1 && !st.IfExists:
		w.SQL = []string{"DROP " + strings.TrimPrefix(st.Verb, "CREATE ") + " " + r.server.quoted(st.Objects[0])}
		return nil
	}
	n := first.table
	switch {
	case st.Verb == "DROP TABLE" && len(st.Objects) == 1:
		n = st.Objects[0]
	case st.Verb == "DROP INDEX" && r.server.mysql:
		if m := indexOn.FindStringSubmatchIndex(first.words); m != nil {
			n = r.server.name(plain[m[2]:m[3]])
		}
	case st.Verb == "DROP INDEX" && len(st.Objects) == 1:
		if n, err = postgres.Where(ctx, tx, postgres.IndexedBy, st.Objects[0]); err != nil {
			return err
		}
		if n.Table == "" {
			w.Why = "there was no index of this name"
		}
	case first.verb == "CREATE TABLE", st.Verb == "ALTER TABLE", strings.HasPrefix(st.Verb, "CREATE") && strings.HasSuffix(st.Verb, "INDEX"):
	default:
		n = schema.Name{}
	}
	if n.Table == "" {
		w.Why = cmp.Or(w.Why, "nothing tells what would lead back from it")
		return nil
	}
	if !r.server.mysql {
		known, err := postgres.Where(ctx, tx, postgres.Found, n)
		if err != nil {
			return err
		}
		if known.Table != "" {
			if n = known; first.verb == "CREATE TABLE" { // IF NOT EXISTS
				w.Made = true
			}
		}
	} else if first.verb == "CREATE TABLE" {
		t, err := mysql.Define(ctx, tx, n)
		if w.Made = t != nil; err != nil {
			return err
		}
	}
	if w.Subject = n; st.Verb == "ALTER TABLE" {
		return r.renamed(ctx, tx, st, w)
	}
	return nil
}

// renamed turns clauses around that rename: to compare definitions would take them for a loss.
func (r *run) renamed(ctx context.Context, tx state.DB, st plan.Statement, w *way) error {
	alter := "ALTER TABLE " + r.server.quoted(w.Subject) + " "
	quote := ident.Quote
	if r.server.mysql {
		quote = mysql.QuotedName
	}
	for _, c := range st.Clauses {
		text := ""
		switch {
		case c.Action == plan.RenameColumn:
			text = alter + "RENAME COLUMN " + quote(c.NewName) + " TO " + quote(c.Column)
		case c.Action == plan.RenameConstraint:
			text = alter + "RENAME CONSTRAINT " + quote(c.NewName) + " TO " + quote(c.Name)
		case c.Action == plan.RenameIndex:
			text = alter + "RENAME INDEX " + quote(c.NewName) + " TO " + quote(c.Index)
		case c.Action == plan.RenameTable && r.server.mysql:
			text = "ALTER TABLE " + r.server.quoted(c.Other) + " RENAME TO " + r.server.quoted(w.Subject)
		case c.Action == plan.RenameTable:
			text = "ALTER TABLE " + r.server.quoted(schema.Name{Schema: w.Subject.Schema, Table: c.NewName}) + " RENAME TO " + quote(w.Subject.Table)
		case c.Action == plan.SetSchema:
			text = "ALTER TABLE " + r.server.quoted(schema.Name{Schema: c.NewName, Table: w.Subject.Table}) + " SET SCHEMA " + quote(w.Subject.Schema)
		case c.Action == plan.ChangeColumn && !strings.EqualFold(c.NewName, c.Column):
			then, err := r.define(ctx, tx, w.Subject)
			if err != nil {
				return err
			}
			if p := then.Part("column", c.Column); p != nil {
				text = alter + "CHANGE COLUMN " + quote(c.NewName) + " " + p.Text
				w.Lossy = "values of " + c.NewName + " may be rounded, or not fit the type that they had"
			}
		}
		if text != "" {
			w.SQL = append(w.SQL, text)
		}
	}
	if len(w.SQL) > 0 && len(st.Clauses) > 1 {
		w.SQL, w.Why = nil, "it renames and does something else, in one statement"
	}
	return nil
}

// noted runs do between the beginning and the end of a statement's way back.
func (r *run) noted(ctx context.Context, tx *sql.Tx, p *program, u *unit, i int, do func() error) error {
	if !p.noting() {
		return do()
	}
	w, err := r.begin(ctx, tx, p, u, i)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return r.end(ctx, tx, p, u, i, w)
}

// beside is noted for a unit that is no transaction: its way back is noted beside it, on the same connection, whose settings say what names mean.
func (r *run) beside(ctx context.Context, p *program, u *unit, x *journal.Step, do func() error) error {
	if !p.noting() {
		return do()
	}
	begin := r.begin
	if x != nil {
		begun := x.Change != ""
		if u.kind != unitEngine {
			var err error
			if begun, err = r.happened(ctx, u, x); err != nil {
				return err
			}
		}
		if begun {
			begin = r.recall
		}
	}
	var w *way
	if err := r.tx(ctx, func(tx *sql.Tx) (err error) {
		w, err = begin(ctx, tx, p, u, 0)
		return err
	}); err != nil {
		return err
	}
	waiting := len(p.waiting)
	if err := do(); err != nil || len(p.waiting) > waiting { // nobody knows yet what a change beside it comes to
		return err
	}
	return r.tx(ctx, func(tx *sql.Tx) error { return r.end(ctx, tx, p, u, 0, w) })
}

// closed ends the note of a unit that is done where a run died between the two, unless it went on behind it.
func (r *run) closed(ctx context.Context, p *program, u *unit) error {
	if !p.noting() || u.kind != unitLoose && u.kind != unitEngine {
		return nil
	}
	for seq := range p.steps {
		if seq > u.seq {
			return nil
		}
	}
	return r.tx(ctx, func(tx *sql.Tx) error {
		w, err := r.recall(ctx, tx, p, u, 0)
		if err != nil {
			return err
		}
		return r.end(ctx, tx, p, u, 0, w)
	})
}

// wayOf says where the way back of a program comes from, as far as its words tell.
func (r *run) wayOf(p *program) string {
	m := p.migration
	switch {
	case m.Down != nil || m.GoDown != nil:
		return "written"
	case !p.noting():
		return "none"
	}
	for _, u := range p.units {
		for _, s := range u.statements {
			if rowsOnly.MatchString(r.server.look(s).words) {
				return "none"
			}
		}
	}
	return "noted"
}

// led is a migration with a way back: its own, or the one that was noted.
func (r *run) led(ctx context.Context, m *Migration) (*Migration, []string, error) {
	if len(m.Up.Replaces) > 0 {
		return nil, nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("migration %s stands for %d that were squashed: nothing is taken back beyond it", m, len(m.Up.Replaces))}
	}
	if m.Down != nil || m.Go != nil || m.GoDown != nil {
		return m, nil, nil
	}
	script, lossy, err := r.made(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	led := *m
	led.Down = script
	return &led, lossy, nil
}

// made is the way back of a migration that has none of its own; nil if none was noted, which why explains.
func (s *session) made(ctx context.Context, m *Migration) (*Script, []string, error) {
	steps, err := s.store.Steps(ctx, s.db, m.ID(), back)
	if err != nil {
		return nil, nil, err
	}
	refuse := func(why string) (*Script, []string, error) {
		return nil, nil, &fault.Problem{Kind: fault.Refused, Text: fmt.Sprintf("migration %s has no way back: it is not written, and none can be made: %s. Write its down script, or go forward with a new migration; nothing was changed", m, why)}
	}
	if len(steps) == 0 {
		return refuse("nothing was noted as it ran")
	}
	script := &Script{File: "the way back of " + m.Up.File}
	var lossy []string
	for _, seq := range sortedBack(steps) {
		var w way
		if err := json.Unmarshal([]byte(steps[seq].SQL), &w); err != nil {
			return nil, nil, err
		}
		switch {
		case w.Why != "":
			return refuse(fmt.Sprintf("`%s`: %s", shorten(w.Of, 100), w.Why))
		case !w.Made:
			return refuse(fmt.Sprintf("`%s` was left to a change beside it, or has not ended", shorten(w.Of, 100)))
		}
		if w.Lossy != "" {
			lossy = append(lossy, w.Lossy)
		}
		for _, text := range w.SQL {
			script.Statements = append(script.Statements, Statement{SQL: text, Line: len(script.Statements) + 1})
		}
	}
	return script, lossy, nil
}

// sortedBack are the numbers of notes, the last first.
func sortedBack(steps map[int]*journal.Step) (out []int) {
	for seq := range steps {
		out = append(out, seq)
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// Back is the way back of a migration that was applied: its own, or the one that was noted as it ran. Lossy says what does not come
// back with it, or is lost by it.
type Back struct {
	Version string   `json:"version"`
	Made    bool     `json:"made"` // it is not in the files
	SQL     []string `json:"sql"`
	Lossy   []string `json:"lossy"`
}

// Back answers the way back of a version, or why there is none. It changes nothing.
func (m *Migrator) Back(ctx context.Context, version string) (*Back, error) {
	s, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close() // nothing is in flight any more
	id, err := s.tree.Resolve(version)
	if err != nil {
		return nil, err
	}
	one := s.tree.Find(id)
	out := &Back{Version: id, SQL: []string{}, Lossy: []string{}}
	script := one.Down
	if one.GoDown != nil {
		return nil, usage("the way back of %s is a function of the program", one)
	}
	if script == nil {
		there, err := s.store.Exists(ctx)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, &fault.Problem{Kind: fault.Behind, Text: fmt.Sprintf("migration %s was not applied here: its way back is noted as it runs", one)}
		}
		if script, out.Lossy, err = s.made(ctx, one); err != nil {
			return nil, err
		}
		out.Made = true
	}
	for _, st := range script.Statements {
		out.SQL = append(out.SQL, st.SQL)
	}
	for _, st := range s.server.losing(script) {
		out.Lossy = append(out.Lossy, "data that "+shorten(st.SQL, 100)+" takes away")
	}
	if out.Lossy == nil {
		out.Lossy = []string{}
	}
	return out, nil
}
