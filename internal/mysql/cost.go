package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// The figures of ways follow `go run ./bench/routes -db mysql` and `-db mariadb`, on MySQL 9.7 and MariaDB 10.11 with 300,000 rows and the settings that
// the servers come with. They are of a table whose rows came in the order of its key, so that its pages are full: the dearest case.
const (
	page = 16 << 10 // of InnoDB

	rowLog  = 20 // bytes of redo log for a row that is copied, beside what it is long
	rowHead = 20 // bytes of a row that no column is: what InnoDB keeps about it, which the binary log does not have
	rowMark = 12 // bytes of the binary log for a row, beside its values

	// reserve is the part of a full page that InnoDB leaves empty for rows that grow (manual, The Physical Structure of an InnoDB Index). Where they grow
	// by more, every page is split in two.
	reserve = 16
)

// rewriting is what the redo log gets where every row of a table becomes a little longer in its place (measured).
func (w *planner) rewriting(rows, bytes int64) int64 {
	if w.dialect.maria {
		return 240*rows + bytes*63/10
	}
	return 120*rows + bytes
}

// building is what the redo log gets of an index that is built: of MySQL nothing (measured).
func (w *planner) building(bytes int64) int64 {
	if w.dialect.maria {
		return bytes
	}
	return 0
}

// keeping is what a file that grows keeps free on MySQL (manual, innodb_segment_reserve_factor). On MariaDB none of it was to be seen.
func (w *planner) keeping(bytes int64) int64 {
	if w.dialect.maria {
		return 0
	}
	return bytes / 8
}

// ways estimates what a new type of one column costs by a second table and by a second column, and says which of the two cannot be gone, as far as that
// is known without trying; refusals are those of a second table. It answers none for statements that ask for more than that, nor for tables that swap together. The twin is as
// the statement left it.
func (w *planner) ways(ctx context.Context, r *rehearsal, refusals []string) ([]plan.Way, error) {
	k := w.statement.Clauses[0]
	from := r.source.column(k.Column)
	modifies := k.Action == plan.AlterType || k.Action == plan.ChangeColumn && strings.EqualFold(k.Column, k.NewName)
	if len(w.statement.Clauses) != 1 || !modifies || from == nil || r.target(from.Name) == nil || w.options.Trial || len(w.options.Kin) > 0 {
		return nil, nil
	}
	if to := r.target(from.Name); from.full() == to.full() && from.Nullable == to.Nullable {
		return nil, nil
	}
	pair, why := r.pair()
	c := w.newSecond(r, *from, pair)
	more, err := w.fixed(ctx, r, *from)
	why = slices.Concat(why, more, c.unfit(r), c.unready(r))
	for _, ask := range []func(context.Context, schema.Pair) (string, error){w.borrowed, w.moved} {
		lack := ""
		if err == nil {
			lack, err = ask(ctx, c.pair)
		}
		if lack != "" {
			why = append(why, lack)
		}
	}
	if err != nil {
		return nil, w.explain(err, "looking at what hangs on column "+from.Name)
	}
	again, err := w.again(ctx, r.source)
	if err != nil {
		return nil, err
	}
	table, column := w.tableCosts(r), w.columnCosts(r, c, again)
	table.Why, column.Why = strings.Join(refusals, "; "), withoutAdvice.Replace(strings.Join(why, "; "))
	return []plan.Way{table, column}, nil
}

// unready says what the server would have against a second column when that is tried, as far as the definition tells (tried on 9.7, 10.11 and 11.8).
func (c second) unready(r *rehearsal) (why []string) {
	add := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	place := func(of *Relation) int {
		return slices.IndexFunc(of.Columns, func(o Column) bool { return strings.EqualFold(o.Name, c.from.Name) })
	}
	full := slices.ContainsFunc(r.source.Indexes, func(x Index) bool { return x.Kind == "FULLTEXT" })
	if full || strings.Contains(strings.ToUpper(r.source.Create), "ROW_FORMAT=COMPRESSED") {
		add("%s has a FULLTEXT index or is compressed: the server does not add columns to it at once", r.source.Name)
	}
	for i, o := range r.source.Columns {
		indexed := slices.ContainsFunc(r.source.Indexes, func(x Index) bool { return strings.Contains(x.Def, quote(o.Name)) })
		if c.maria && o.Generated && strings.Contains(r.source.line(o), "VIRTUAL") && (indexed || i > place(r.source)) {
			add("column %s is VIRTUAL, and has an index or stands behind %s: MariaDB does not add columns to such a table at once", o.Name, c.from.Name)
		}
	}
	for _, x := range c.was {
		if x.Kind != "BTREE" {
			add("index %s stands behind one of the column, and so is built anew; the server does not build a %s index while the table is written to", x.Name, x.Kind)
		}
		if slices.ContainsFunc(x.Keys, func(k IndexKey) bool { return k.Expression != "" }) {
			add("index %s computes something: MySQL does not drop it in place together with others", x.Name)
		}
	}
	if !c.to.Nullable && (c.held() == "" || !c.maria && c.to.long()) {
		add("the server knows no constant of the type %s that rows without a value could have, and it is NOT NULL", c.to.Type)
	}
	if place(r.source) != place(r.shadow) {
		add("the statement gives column %s another place, and a second one has the place of the first", c.from.Name)
	}
	return why
}

// again is what the binary log has of rows whose column changes, beside that: all of them before and after it, if it is not told to be short.
func (w *planner) again(ctx context.Context, s *Relation) (int64, error) {
	set, err := variables(ctx, w.conn, "binlog_row_image")
	switch strings.ToUpper(set["binlog_row_image"]) {
	case "MINIMAL":
		return 0, err
	case "NOBLOB":
		return 2 * min(s.logged(), s.inside()), err
	case "FULL_NODUP": // of MariaDB: what does not change once
		return s.logged(), err
	}
	return 2 * s.logged(), err
}

// withoutAdvice takes away what somebody who asked for a second column is told.
var withoutAdvice = strings.NewReplacer(": leave the route out, or give it table", "", "; leave the route out, or give it table", "")

// tableCosts are those of a second table. Its indexes are built behind the copy.
func (w *planner) tableCosts(r *rehearsal) plan.Way {
	s := r.source
	out := plan.Way{Route: plan.ShadowTable, Log: s.values() + rowLog*s.Rows + w.building(s.Bytes-s.Data), Spare: s.Bytes * 12 / 10}
	if w.logged {
		out.Binlog = s.logged()
	}
	out.Log += out.Binlog
	return out
}

// columnCosts are those of a second column. What its rows grow by stays: a column that is dropped at once is still in the rows, and pages that were split
// are half empty.
func (w *planner) columnCosts(r *rehearsal, c second, again int64) plan.Way {
	s := r.source
	inside, added := s.inside(), s.Rows*s.width(c.from, c.to)
	out := plan.Way{Route: plan.ShadowColumn, Dead: added}
	if added*reserve > inside {
		out.Dead = max(added, inside) + w.keeping(s.Data)
	}
	indexes, built := int64(0), int64(0)
	for _, x := range s.Indexes {
		if x.Name != "PRIMARY" {
			indexes += s.entry(x)
		}
	}
	for _, x := range c.was {
		built += (s.Bytes - s.Data) * s.entry(x) / max(indexes, 1)
	}
	if flagged(c.pair) {
		built += rowHead * s.Rows
	}
	out.Log, out.Spare = w.rewriting(s.Rows, inside)+added+w.building(built), out.Dead+built
	if w.logged {
		out.Binlog = again + added + rowMark*s.Rows
	}
	out.Log += out.Binlog
	return out
}

// row is how long a row is on average, with its part of its page's reserve.
func (r *Relation) row() int64 { return r.Data / max(r.Rows, 1) }

// outside says that most of a row is in pages of its own: one that is longer than half a page cannot stay together.
func (r *Relation) outside() bool { return r.row() > page/2 }

// values is how long all rows are. The last page of a value that has pages of its own is half empty.
func (r *Relation) values() int64 {
	if r.outside() {
		return r.Data - r.Rows*page/2
	}
	return r.Data
}

// logged is what the binary log has of each row once.
func (r *Relation) logged() int64 {
	return max(r.values()*(reserve-1)/reserve-rowHead*r.Rows, 0) + rowMark*r.Rows
}

// inside is what the rows take without values that have pages of their own.
func (r *Relation) inside() int64 {
	if !r.outside() {
		return r.Data
	}
	row := int64(rowHead)
	for _, c := range r.Columns {
		if n := c.fixed(); n > 0 {
			row += n
		} else {
			row += 20 // a pointer
		}
	}
	return row * r.Rows
}

// width is about how many bytes a value of one column takes in another one. Texts share what the other columns leave of a row.
func (r *Relation) width(from, to Column) int64 {
	if n := to.fixed(); n > 0 {
		return n
	}
	if from.fixed() > 0 {
		return 10 // a number or a time as a text
	}
	left, texts := r.values()/max(r.Rows, 1)-rowHead, int64(0)
	for _, c := range r.Columns {
		n := c.fixed()
		left -= n
		if n == 0 {
			texts++
		}
	}
	width := max(left/max(texts, 1), 1)
	if from.Length > 0 {
		width = min(width, 4*from.Length)
	}
	return width
}

// entry is about how long an index's entries are.
func (r *Relation) entry(x Index) int64 {
	bytes := int64(15) // a head, and the primary key
	for _, k := range x.Keys {
		width := int64(10)
		if c := r.column(k.Column); c != nil {
			width = r.width(*c, *c)
		}
		if k.Prefix > 0 {
			width = min(width, k.Prefix)
		}
		bytes += width
	}
	return bytes
}

// fixed is how many bytes each value takes, zero where that depends on the value.
func (c Column) fixed() int64 {
	switch c.kind() {
	case "int":
		return int64(room(c)) / 8
	case "decimal":
		return c.Precision/2 + 1
	case "float", "timestamp":
		return 4
	case "double", "datetime":
		return 8
	case "date", "time":
		return 3
	case "enum", "set", "year", "bit":
		return 2
	case "uuid":
		return 16
	}
	return 0
}

// long says that a column's type is one that MySQL gives no default but as an expression.
func (c Column) long() bool {
	return strings.HasSuffix(c.Data, "text") || strings.HasSuffix(c.Data, "blob") || c.kind() == "json" || c.kind() == "geometry"
}

// refuseTable refuses a second table for a statement that was rehearsed.
func (w *planner) refuseTable(ctx context.Context, r *rehearsal, why []string) (_ *plan.Plan, err error) {
	w.plan.Ways, err = w.ways(ctx, r, why)
	return RefuseTable(w.plan, why...), err
}

// RefuseTable has a plan of a change by a second table refuse it, and say so where a second column would do.
func RefuseTable(p *plan.Plan, why ...string) *plan.Plan {
	p.Steps = nil
	for i, o := range p.Ways {
		switch {
		case o.Route == plan.ShadowTable:
			p.Ways[i].Why = strings.Join(why, "; ")
		case o.Why == "":
			why = append(why, "a second column in the same table would do: --route column. There is no undo then")
		}
	}
	return refuse(p, why...)
}
