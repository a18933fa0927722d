package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// What is about single partitions either changes the catalogue and drops files, which is direct, or writes the rows of some partitions
// anew with writers shut out, which is direct if they are empty and a second table otherwise. MariaDB takes no demand with any of them, so
// there the rules alone decide. InnoDB gives partitions other numbers either way, which tell nothing here, but that a TRUNCATE or an
// EXCHANGE happened, which leave the definition as it was.

// maintenance is a statement about single partitions.
type maintenance struct {
	verb  string   // ADD, DROP, TRUNCATE, EXCHANGE, REORGANIZE, COALESCE, REBUILD, CONVERT
	names []string // of partitions; none where all are meant
	other schema.Name
	words []string
}

// maintains reads the statement as one about partitions; nil if it is none that is planned here.
func (w *planner) maintains() *maintenance {
	first := w.statement.Clauses[0]
	if first.Action != plan.MaintainPartition {
		return nil
	}
	text := w.statement.Text[first.Start:] // the names of partitions stand between commas, as clauses do
	m := &maintenance{words: w.words(text)}
	m.verb = m.words[0]
	if !slices.Contains([]string{"ADD", "DROP", "TRUNCATE", "EXCHANGE", "REORGANIZE", "COALESCE", "REBUILD", "CONVERT"}, m.verb) || m.verb == "CONVERT" && !slices.Contains(m.words[:2], "PARTITION") {
		return nil
	}
	w.named(text, behindTable, func(n schema.Name) string {
		m.other = n
		return ""
	})
	if m.verb != "ADD" && m.verb != "COALESCE" {
		m.names = w.partitions(text)
	}
	return m
}

// behindTable says that the name of the other table of an EXCHANGE or a CONVERT follows.
func behindTable(words []string) bool {
	n := len(words)
	return n > 1 && words[n-1] == "TABLE" && (words[n-2] == "WITH" || words[n-2] == "TO")
}

// partitions are the names behind PARTITION, none for ALL.
func (w *planner) partitions(text string) []string {
	tokens, err := plan.Lex(text, w.syntax)
	if err != nil {
		return nil
	}
	tokens = slices.DeleteFunc(tokens, func(t plan.Token) bool { return t.Kind == plan.TokenSpace || t.Kind == plan.TokenComment })
	at := slices.IndexFunc(tokens, func(t plan.Token) bool { return strings.EqualFold(text[t.Start:t.End], "PARTITION") }) + 1
	for at+1 < len(tokens) && slices.Contains([]string{"IF", "EXISTS", "NO_WRITE_TO_BINLOG", "LOCAL"}, strings.ToUpper(text[tokens[at].Start:tokens[at].End])) {
		at++
	}
	var out []string
	for ; at < len(tokens); at += 2 {
		n, _ := name(text, tokens[at:at+1], 0)
		if n.Table == "" || tokens[at].Kind == plan.TokenWord && strings.EqualFold(n.Table, "ALL") {
			return nil
		}
		out = append(out, n.Table)
		if at+1 == len(tokens) || text[tokens[at+1].Start:tokens[at+1].End] != "," {
			break
		}
	}
	return out
}

// maintain plans what the server does at once, or with partitions that are empty; nil for what goes over a second table.
func (w *planner) maintain(ctx context.Context, r *rehearsal, m *maintenance) (*plan.Plan, error) {
	text := w.statement.Text
	if m.other.Table != "" {
		if m.other.Schema == "" {
			m.other.Schema = w.database // here the server looks in the session's database
		}
		text = w.named(text, behindTable, func(schema.Name) string { return qualified(m.other) })
	}
	g, err := w.practise(ctx, r, m, text)
	if err != nil {
		return nil, err
	}
	moves, err := w.moves(ctx, m)
	if err != nil {
		return nil, err
	}
	w.plan.Effect = "direct"
	if g.rebuild = moves; moves {
		w.plan.Effect = "rewrite"
	}
	if g.algorithm != "" {
		w.plan.Native = g.native()
	}
	why, while := "the server only changes the catalogue", ""
	switch m.verb {
	case "DROP", "TRUNCATE":
		why = fmt.Sprintf("the server takes the partitions' files away, with all rows in them (%s)", strings.Join(m.names, ", "))
		if len(m.names) == 0 {
			why = "the server takes the files of all partitions away, with all rows in them"
		}
	case "EXCHANGE":
		if why, err = w.exchanges(ctx, m); err != nil {
			return nil, err
		}
		if why == "" {
			w.plan.Effect = "scan"
			return refuse(w.plan, fmt.Sprintf("the server would read all rows of %s with both tables locked, to see whether they belong into the partition: look for those that do not yourself, and say WITHOUT VALIDATION "+
				"(MySQL, and MariaDB from 11.4 on), or run the statement as it is at a quiet time", m.other)), nil
		}
		if !slices.Contains(m.words, "WITHOUT") {
			while = fmt.Sprintf("SELECT COUNT(*) <= %d FROM (SELECT 1 FROM %s LIMIT %d) few", small, qualified(m.other), small+1)
		}
	}
	if moves {
		while = w.empty(m)
		var is bool
		if err := w.conn.QueryRowContext(ctx, while).Scan(&is); err != nil || !is {
			return nil, err
		}
		why = "the server writes the partitions anew that the statement speaks of, and they are empty"
		w.plan.Effect = "direct"
	}
	sql := w.statement.Retarget(qualified(w.plan.Table))
	if s, err := plan.Parse(text, w.syntax); err == nil {
		sql = s.Retarget(qualified(w.plan.Table))
	}
	if g.algorithm != "" {
		sql = w.demand(text, w.plan.Table, g)
	}
	p := w.direct(why, sql)
	s := &p.Steps[0]
	s.While = while
	// The engine would take the removal of large files for a long wait. The server bounds the wait itself, in whole seconds.
	s.LockWait, s.Lock, s.Why = 0, "exclusive metadata lock", "the statement, with a bounded wait for its lock, tried again if the lock is not to be had"
	if m.verb == "TRUNCATE" || m.verb == "EXCHANGE" {
		if s.Done, err = w.renumbered(ctx, m); err == nil && s.Done == "" {
			return refuse(w.plan, "whether the statement happened could not be told after a lost connection, and to run it twice would take away what came in between: information_schema does not show the numbers that InnoDB gives to the partitions. "+
				"Needed: GRANT PROCESS ON *.* for this role, and a file for each partition (innodb_file_per_table); or run the statement as it is"), nil
		}
		return p, err
	}
	s.Done, err = w.happened(ctx, r)
	return p, err
}

// practise runs the statement on the twin, with the lightest demand that MySQL takes.
func (w *planner) practise(ctx context.Context, r *rehearsal, m *maintenance, text string) (rung, error) {
	if m.other.Table != "" {
		twin := schema.Name{Schema: r.in(), Table: "changeling_other"}
		if m.verb == "EXCHANGE" {
			if _, err := w.conn.ExecContext(ctx, "CREATE TABLE "+qualified(twin)+" LIKE "+qualified(m.other)); err != nil {
				return rung{}, w.explain(err, "making an empty twin of "+m.other.String())
			}
		}
		text = w.named(text, behindTable, func(schema.Name) string { return qualified(twin) })
	}
	if !w.dialect.maria {
		for _, g := range []rung{{algorithm: "INSTANT"}, {algorithm: "INPLACE", lock: "NONE"}, {algorithm: "INPLACE", lock: "SHARED"}} {
			err := coded(w.alter(ctx, w.demand(text, r.shadowName(), g)))
			if fault.Lost(err) || fault.Canceled(err) {
				return g, err
			}
			if err == nil {
				return g, nil
			}
		}
	}
	s, err := plan.Parse(text, w.syntax)
	if err == nil {
		err = w.alter(ctx, s.Retarget(qualified(r.shadowName())))
	}
	if err != nil {
		return rung{}, w.explain(err, "the statement on an empty twin of "+w.plan.Table.String())
	}
	return rung{}, nil
}

// moves says that the statement writes rows anew.
func (w *planner) moves(ctx context.Context, m *maintenance) (bool, error) {
	switch m.verb {
	case "REORGANIZE", "COALESCE", "REBUILD":
		return true, nil
	case "ADD":
		var method sql.NullString
		err := w.conn.QueryRowContext(ctx, "SELECT MAX(PARTITION_METHOD) FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = "+literal(w.plan.Table.Schema)+" AND TABLE_NAME = "+literal(w.plan.Table.Table)).Scan(&method)
		return !strings.HasPrefix(method.String, "RANGE") && !strings.HasPrefix(method.String, "LIST"), err
	}
	return false, nil
}

// empty asks whether none of the partitions has rows.
func (w *planner) empty(m *maintenance) string {
	table := qualified(w.plan.Table)
	if len(m.names) > 0 {
		var list []string
		for _, n := range m.names {
			list = append(list, quote(n))
		}
		table += " PARTITION (" + strings.Join(list, ", ") + ")"
	}
	return "SELECT NOT EXISTS (SELECT 1 FROM " + table + " LIMIT 1)"
}

// small is up to how many rows a table may be read under a lock: a fraction of a second.
const small = 10000

// exchanges says how the server exchanges a partition, or nothing if it would read a large table under the lock.
func (w *planner) exchanges(ctx context.Context, m *maintenance) (string, error) {
	if slices.Contains(m.words, "WITHOUT") {
		return "the server only changes the catalogue, and believes that all rows belong into the partition", nil
	}
	other, err := Resolve(ctx, w.conn, m.other)
	if err != nil {
		return "", &fault.Problem{Kind: fault.Usage, Text: err.Error(), Err: err}
	}
	var n int
	if err := w.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM (SELECT 1 FROM %s LIMIT %d) few", qualified(other), small+1)).Scan(&n); err != nil || n > small {
		return "", err
	}
	return fmt.Sprintf("the server changes the catalogue, and reads the %d rows of %s under the lock", n, m.other), nil
}

// renumbered asks whether InnoDB has given the partitions other numbers than they have now, as a TRUNCATE or an EXCHANGE does; it is empty
// if nobody can tell.
func (w *planner) renumbered(ctx context.Context, m *maintenance) (string, error) {
	of := filesOf(w.plan.Table)
	if len(m.names) > 0 {
		var list []string
		for _, n := range m.names {
			file := strings.ToLower(fileName(w.plan.Table.Schema) + "/" + fileName(w.plan.Table.Table) + "#p#" + fileName(n))
			list = append(list, "LOWER(i.NAME) = "+literal(file)+" OR LEFT(LOWER(i.NAME), "+fmt.Sprint(len(file)+4)+") = "+literal(file+"#sp#"))
		}
		of = "(" + strings.Join(list, " OR ") + ")"
	}
	numbers := "(SELECT " + numbersOfFiles + " FROM " + files(w.dialect.maria) + " i WHERE " + of + ")"
	var now int64
	err := coded(w.conn.QueryRowContext(ctx, "SELECT "+numbers).Scan(&now))
	if fault.Denied(err) {
		return "", nil
	}
	if err != nil || now == 0 {
		return "", err
	}
	return fmt.Sprintf("SELECT %s <> %d", numbers, now), nil
}
