package mysql

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/schema"
)

// Rows writes the SQL that moves and compares rows of one pair. It holds no connection and runs nothing.
//
// The aliases are always the same: s is the source, d the shadow (also where an undo compares them the other way), changeling_log the key log, t what was taken out of it. LOCK TABLES
// locks a table under each alias of its own, so the cutover knows them; and takes no name twice in one database, so those of tables
// beside the shadow are not names that it could have.
//
// All statements run at READ COMMITTED: there INSERT … SELECT reads the source and the log without locks, so no user ever
// waits for a row of ours.
type Rows struct {
	Pair  schema.Pair
	Maria bool   // the server is MariaDB
	As    string // what the source is called in the texts of a last drain; empty: s

	back   bool   // the pair is the Judge of an undo, see judged
	logged string // the key's columns in the log then
}

// aliases are those of the source and of the shadow.
func (w Rows) aliases() (source, shadow string) {
	if w.back {
		return "d", "s"
	}
	return "s", "d"
}

// seq is the log's own column.
const seq = "changeling_seq"

func (w Rows) keyNames(prefix string) []string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, prefix+quote(k.Source))
	}
	return out
}

func (w Rows) keyList(prefix string) string { return strings.Join(w.keyNames(prefix), ", ") }

// same compares the key of the source's form on both sides.
func (w Rows) same(left, right string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, left+"."+quote(k.Source)+" = "+right+"."+quote(k.Source))
	}
	return strings.Join(out, " AND ")
}

// sameShadow compares the shadow's key with one of the source's form.
func (w Rows) sameShadow(shadow, other string) string {
	var out []string
	for _, k := range w.Pair.Key {
		out = append(out, shadow+"."+quote(k.Shadow)+" = "+other+"."+quote(k.Source))
	}
	return strings.Join(out, " AND ")
}

// columns are those that get a value from the source. The server converts it as a native ALTER would: by assignment.
func (w Rows) columns() (names, values []string) {
	for _, m := range w.Pair.Columns {
		names = append(names, quote(m.Shadow))
		values = append(values, "s."+quote(m.Source))
	}
	return names, values
}

// digest is one number for a row, of the source through the conversion or of the shadow as it is.
func (w Rows) digest(source bool) string {
	s, d := w.aliases()
	parts := []string{"0"}
	for _, m := range w.Pair.Columns {
		v := d + "." + quote(m.Shadow)
		if source {
			v = s + "." + quote(m.Source)
			if m.Expr != "" {
				v = "(" + m.Expr + ")"
			}
		}
		parts = append(parts, "("+strings.ReplaceAll(m.Digest, "%s", v)+")")
	}
	// Not a sum, which over many rows would not see values of one column that change places.
	return together(parts)
}

// together are the digests of columns as one. In halves, because the server's stack grows with the depth of an expression, and 600 columns one behind
// the other are too many for it (error 1436).
func together(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	half := len(parts) / 2
	return "(" + together(parts[:half]) + " ^ " + together(parts[half:]) + ")"
}

// textual says how a key column goes into text and back so that the server finds exactly that row again.
func textual(typ string) (into, back string) {
	base, _, _ := strings.Cut(strings.ToLower(typ), "(")
	base, _, _ = strings.Cut(base, " ")
	switch base {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year":
		if strings.Contains(strings.ToLower(typ), "unsigned") {
			return "CAST(%s AS CHAR)", "CAST(%s AS UNSIGNED)"
		}
		return "CAST(%s AS CHAR)", "CAST(%s AS SIGNED)"
	case "decimal", "numeric", "dec", "fixed":
		if _, size, ok := strings.Cut(typ, "("); ok {
			size, _, _ = strings.Cut(size, ")")
			return "CAST(%s AS CHAR)", "CAST(%s AS DECIMAL(" + size + "))"
		}
		return "CAST(%s AS CHAR)", "CAST(%s AS DECIMAL)"
	case "date":
		return "CAST(%s AS CHAR)", "CAST(%s AS DATE)"
	case "datetime", "timestamp":
		return "CAST(%s AS CHAR)", "CAST(%s AS DATETIME(6))"
	case "time":
		return "CAST(%s AS CHAR)", "CAST(%s AS TIME(6))"
	case "uuid", "inet4", "inet6": // of MariaDB
		return "CAST(%s AS CHAR)", "CAST(%s AS " + base + ")"
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return "CONVERT(%s USING utf8mb4)", "%s"
	case "enum", "set", "bit": // by number, which is their order; between texts an index would not be used, nor be in order
		return "CAST(%s + 0 AS CHAR)", "CAST(%s AS UNSIGNED)"
	}
	return "HEX(%s)", "UNHEX(%s)" // binary, varbinary, blob
}

// keyText is a key as the text forms of its columns, in a JSON array.
func (w Rows) keyText(prefix string) string {
	var out []string
	for _, k := range w.Pair.Key {
		into, _ := textual(k.Type)
		out = append(out, strings.ReplaceAll(into, "%s", prefix+quote(k.Source)))
	}
	return "CAST(JSON_ARRAY(" + strings.Join(out, ", ") + ") AS CHAR)"
}

// bounds are the values of a key, as SQL.
func (w Rows) bounds(key copier.Key) []string {
	var out []string
	for i, k := range w.Pair.Key {
		_, back := textual(k.Type)
		out = append(out, strings.ReplaceAll(back, "%s", literal(key[i])))
	}
	return out
}

// beyond says that a row's key stands after, or up to, another one. Row constructors are not used as ranges of an index by
// older servers, so the comparison is written out, with a first part that is.
func (w Rows) beyond(names []string, key copier.Key, op, orEqual string) string {
	values := w.bounds(key)
	against := func(i int, op string) string {
		if n := len(enumerated(w.Pair.Key[i].Type)); n > 0 {
			return numbers(names[i], op, key[i], n)
		}
		return names[i] + " " + op + " " + values[i]
	}
	last := len(names) - 1
	out := against(last, orEqual)
	for i := last - 1; i >= 0; i-- {
		out = against(i, op) + " OR " + names[i] + " = " + values[i] + " AND (" + out + ")"
	}
	if last > 0 {
		return against(0, op+"=") + " AND (" + out + ")"
	}
	return out
}

// enumerated are the members of an ENUM, none for another type.
func enumerated(typ string) []string {
	if !strings.HasPrefix(strings.ToLower(typ), "enum(") {
		return nil
	}
	return members(typ)
}

// numbers compares an ENUM of n members with one of their numbers by naming all that are meant: = and IN find ranges of an
// index with numbers, and > and < do not (tried on 9.7). The number 0 is of a value that was none of the members.
func numbers(name, op, number string, n int) string {
	at, err := strconv.Atoi(number)
	if err != nil {
		return "FALSE" // no key of ours says so
	}
	from, upto := 0, n
	switch op {
	case ">":
		from = at + 1
	case ">=":
		from = at
	case "<":
		upto = at - 1
	case "<=":
		upto = at
	}
	var list []string
	for i := from; i <= min(upto, n); i++ {
		list = append(list, strconv.Itoa(i))
	}
	if len(list) == 0 {
		return "FALSE"
	}
	return name + " IN (" + strings.Join(list, ", ") + ")"
}

// within is a key range as a condition on the source or on the shadow.
func (w Rows) within(shadow bool, r copier.Range) string {
	s, d := w.aliases()
	names := w.keyNames(s + ".")
	if shadow {
		names = nil
		for _, k := range w.Pair.Key {
			names = append(names, d+"."+quote(k.Shadow))
		}
	}
	conditions := []string{"TRUE"}
	if r.After != nil {
		conditions = append(conditions, "("+w.beyond(names, r.After, ">", ">")+")")
	}
	if r.Upto != nil {
		conditions = append(conditions, "("+w.beyond(names, r.Upto, "<", "<=")+")")
	}
	return strings.Join(conditions, " AND ")
}

// Guard takes a metadata lock on the source, so that nobody can truncate it while the transaction lasts.
func (w Rows) Guard() string { return "DO (SELECT 1 FROM " + qualified(w.Pair.Source) + " LIMIT 1)" }

// Heap identifies what the source's rows are in: the number that InnoDB gives a table when it makes its file. TRUNCATE makes
// another one, as does every rebuild. (information_schema.tables.create_time does not change with a TRUNCATE, tried on 9.7.)
func (w Rows) Heap() string { return "SELECT " + w.made() }

// made is one number for the numbers that InnoDB has given to the table's file, or to that of each of its partitions. It is 0 where the
// table has none of its own.
func (w Rows) made() string {
	return "(SELECT " + numbersOfFiles + " FROM " + files(w.Maria) + " i WHERE " + filesOf(w.Pair.Source) + ")"
}

// Live notes what the source is before the copy, so that a TRUNCATE, which fires no trigger, is seen afterwards.
func (w Rows) Live() string {
	return "REPLACE INTO " + qualified(alive(w.Pair)) + " (one, made) SELECT 1, " + w.made()
}

// alive is where Live notes it.
func alive(p schema.Pair) schema.Name {
	if turnedRound(p) {
		return schema.Name{Schema: p.Log.Schema, Table: "undo_alive_" + p.Change}
	}
	return schema.Name{Schema: p.Log.Schema, Table: "alive_" + p.Change}
}

// reset answers whether the source was truncated or rebuilt since the copy began.
func (w Rows) reset() string {
	return "(NOT EXISTS (SELECT 1 FROM " + qualified(alive(w.Pair)) + " changeling_alive WHERE changeling_alive.made = " + w.made() + "))"
}

// Truncated asks whether the source was truncated or rebuilt. The server walks through the list of all its tables for the answer,
// 5 ms for each thousand (measured on 9.7), so it is asked now and then, and not with each chunk.
//
// Of the source of an undo the binary log tells.
func (w Rows) Truncated() string {
	if turnedRound(w.Pair) {
		return ""
	}
	return "SELECT " + w.reset()
}

// Blocks is empty: the copy goes by key, which is the order in which InnoDB keeps rows.
func (w Rows) Blocks() string { return "" }

// ShadowBlocks is how far the log goes. The healing walk counts in entries of the log.
func (w Rows) ShadowBlocks() string {
	return "SELECT COALESCE(MAX(changeling_log." + seq + "), 0) + 1 FROM " + qualified(w.Pair.Log) + " changeling_log"
}

// Copy puts the rows of a key range into the shadow. It runs once for a range: the range is noted as done in the same
// transaction. There is no IGNORE, so nothing that does not fit is bent.
func (w Rows) Copy(r copier.Range) string {
	names, values := w.columns()
	return "INSERT INTO " + qualified(w.Pair.Shadow) + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM " + qualified(w.Pair.Source) + " s WHERE " + w.within(false, r)
}

// CopyOne, Places and LoggedPlaces find the row that a conversion fails on: there a place is a key.
func (w Rows) CopyOne(place string) string {
	key, err := copier.ParseKey(place)
	if err != nil {
		return ""
	}
	names, values := w.columns()
	var same []string
	for i, b := range w.bounds(key) {
		same = append(same, "s."+quote(w.Pair.Key[i].Source)+" = "+b)
	}
	return "INSERT INTO " + qualified(w.Pair.Shadow) + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM " + qualified(w.Pair.Source) + " s WHERE " + strings.Join(same, " AND ")
}

// Places lists the rows of a range: place, key, and the values of the columns that are converted, shortened.
func (w Rows) Places(r copier.Range) string {
	return w.places() + " WHERE " + w.within(false, r) + " ORDER BY " + w.keyList("s.") + " LIMIT 20000"
}

// LoggedPlaces is Places for the rows that wait in the log.
func (w Rows) LoggedPlaces() string {
	return w.places() + " WHERE EXISTS (SELECT 1 FROM " + qualified(w.Pair.Log) + " changeling_log WHERE " + w.same("changeling_log", "s") + ") LIMIT 20000"
}

func (w Rows) places() string {
	var changed []string
	for _, m := range w.Pair.Columns {
		if m.Converted {
			changed = append(changed, literal(m.Source), "LEFT(CAST(s."+quote(m.Source)+" AS CHAR), 60)")
		}
	}
	return "SELECT " + w.keyText("s.") + ", " + w.keyText("s.") + ", CAST(JSON_OBJECT(" + strings.Join(changed, ", ") + ") AS CHAR) FROM " + qualified(w.Pair.Source) + " s"
}

// own is a temporary table of the connection with a key and, for what was taken, its number.
func (w Rows) own(name string) string {
	defs := []string{seq + " bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY"}
	for _, k := range w.Pair.Key {
		defs = append(defs, quote(k.Source)+" "+k.LogType)
	}
	table := w.temporary(name)
	return "CREATE TEMPORARY TABLE IF NOT EXISTS " + table + " (" + strings.Join(defs, ", ") + ") ENGINE=InnoDB" + Then + "DELETE FROM " + table
}

func (w Rows) temporary(name string) string {
	return qualified(schema.Name{Schema: w.Pair.Log.Schema, Table: name + "_" + w.Pair.Log.Table})
}

// take fills the temporary table with keys that are to be seen in the log.
func (w Rows) take(where string, limit int64) string {
	out := w.own("taken") + Then + "INSERT INTO " + w.temporary("taken") + " (" + seq + ", " + w.keyList("") + ") SELECT changeling_log." + seq + ", " + w.keyList("changeling_log.") +
		" FROM " + qualified(w.Pair.Log) + " changeling_log"
	if where != "" {
		out += " WHERE " + where
	}
	out += " ORDER BY changeling_log." + seq
	if limit > 0 {
		out += fmt.Sprintf(" LIMIT %d", limit)
	}
	return out
}

// gone deletes the rows of the taken keys from the shadow.
func (w Rows) gone() string {
	return "DELETE d FROM " + w.temporary("taken") + " t STRAIGHT_JOIN " + qualified(w.Pair.Shadow) + " d ON " + w.sameShadow("d", "t")
}

// Heal deletes from the bare shadow the rows of a part of the log. The log stays: the drain needs it. It may run twice.
func (w Rows) Heal(r copier.Range) string {
	after, upto := int64(-1), int64(-1)
	if r.After != nil {
		after, _ = strconv.ParseInt(r.After[0], 10, 64)
	}
	if r.Upto != nil {
		upto, _ = strconv.ParseInt(r.Upto[0], 10, 64)
	}
	return w.take(fmt.Sprintf("changeling_log.%s > %d AND changeling_log.%s <= %d", seq, after, seq, upto), 0) + Then + w.gone()
}

// Pending counts the keys in the log, up to a bound that is quick to count.
func (w Rows) Pending() string {
	return "SELECT COUNT(*) FROM (SELECT 1 FROM " + qualified(w.Pair.Log) + " changeling_log LIMIT 100000) x"
}

// Empty empties the shadow for another copy. Keys stay in the log. It may run twice.
func (w Rows) Empty() []string {
	out := []string{"DELETE FROM " + qualified(alive(w.Pair)), "TRUNCATE TABLE " + qualified(w.Pair.Checks), "TRUNCATE TABLE " + qualified(w.Pair.Shadow)}
	if w.Pair.Binlog {
		out = append(out, ForgetPosition(w.Pair))
	}
	return out
}

// Drain takes keys out of the log by visibility and makes the shadow's rows equal to the source's: deletes all, then inserts
// all, so a unique value may move between two of the rows. At most limit keys, or all of them for limit 0. With note, the
// keys go to the checks, to be compared after a verification.
//
// It answers: keys taken, whether the source was truncated, and twice nothing.
func (w Rows) Drain(limit int64, note bool) string {
	names, values := w.columns()
	list := []string{w.take("", limit)}
	if turnedRound(w.Pair) && (len(w.Pair.Kept) > 0 || len(w.finer()) > 0) {
		list = append(list, w.restore()...)
	} else {
		list = append(list, w.gone(), "INSERT INTO "+qualified(w.Pair.Shadow)+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(values, ", ")+
			" FROM (SELECT DISTINCT "+w.keyList("")+" FROM "+w.temporary("taken")+") t STRAIGHT_JOIN "+qualified(w.Pair.Source)+" s ON "+w.same("s", "t"))
	}
	if note {
		list = append(list, "INSERT INTO "+qualified(w.Pair.Checks)+" ("+w.keyList("")+") SELECT DISTINCT "+w.keyList("")+" FROM "+w.temporary("taken"))
	}
	list = append(list, "DELETE changeling_log FROM "+w.temporary("taken")+" t STRAIGHT_JOIN "+qualified(w.Pair.Log)+" changeling_log ON changeling_log."+seq+" = t."+seq,
		"SELECT (SELECT COUNT(*) FROM "+w.temporary("taken")+"), 0, 0, 0")
	return w.called(strings.Join(list, Then))
}

// Locked are the names under which the statements of the last drain use tables, for LOCK TABLES.
func (w Rows) Locked() string {
	p := w.Pair
	lock := func(n schema.Name, alias string) string {
		if alias == "" || alias == n.Table { // a table may have the name of an alias of ours
			return qualified(n) + " WRITE"
		}
		return qualified(n) + " AS " + alias + " WRITE"
	}
	list := []string{lock(p.Source, ""), lock(p.Source, cmp.Or(w.As, "s")), lock(p.Shadow, ""), lock(p.Shadow, "d"), lock(p.Log, ""), lock(p.Log, "changeling_log"), lock(p.Log, "changeling_waiting"),
		lock(p.Checks, ""), lock(p.Checks, "changeling_checked"), lock(alive(p), ""), lock(alive(p), "changeling_alive")}
	if p.Binlog { // where it ends is noted for an undo
		list = append(list, lock(position(p), ""))
	}
	for _, n := range childTables(p) {
		list = append(list, lock(n, ""))
	}
	slices.Sort(list)
	for _, k := range p.Foreign { // those of the source's own keys the server locks by itself
		if one := k.Parent + " READ"; k.Parent != "" && !slices.Contains(list, one) && !slices.Contains(list, k.Parent+" WRITE") { // as a child
			list = append(list, one)
		}
	}
	return strings.Join(slices.Compact(list), ", ")
}
