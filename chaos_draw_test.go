package changeling_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// trait is a type of a column: its values, the odd ones among them, and what a statement may make of it. A value is an expression that
// gives the same whether the column has its old type or its new one.
type trait struct {
	typ     string
	values  []string
	some    func(*rand.Rand) string // any other value; nil: there are no others
	turns   []turn
	indexed bool // a plain index can have it
}

// turn is another type for a column, and the expression that converts it, of PostgreSQL, if the server has none of its own.
// Where it rounds, not every value of the old type comes back by an undo.
type turn struct {
	typ, using string
	rounds     bool
}

func (t trait) draw(random *rand.Rand) string {
	if t.some == nil || random.IntN(3) == 0 {
		return t.values[random.IntN(len(t.values))]
	}
	return t.some(random)
}

// kinship is a key: the n-th row has the n-th values. Other numbers give other values.
type kinship struct {
	name    string
	columns []string // types
	values  func(n int64) []string
	unique  bool // UNIQUE NOT NULL, and no primary key
	turns   []turn
}

// column is a column that users write. Besides them each table has its key, "u" with a unique value, "tick" with the transaction that wrote the
// row last, "doomed" and "kept", which nobody writes.
type column struct {
	name    string
	trait   trait
	null    bool // users write NULL
	notNull bool // declared so
}

func (c column) draw(random *rand.Rand) string {
	if c.null && random.IntN(6) == 0 {
		return "NULL"
	}
	return c.trait.draw(random)
}

// draft is what a round is about: all of it follows from the round's seed.
type draft struct {
	realm   realm
	key     kinship
	columns []column
	extras  []string // clauses of CREATE TABLE
	indexes []string // statements, with %[1]s for the table
	clauses []string // of ALTER TABLE
	rows    int
	rounds  bool // a conversion does
	claims  bool // the statement adds or drops a unique key: then older snapshots may miss rows, as the plan says, and nobody has one
}

// isolations are the levels at which users write.
func (d draft) isolations() []string {
	if d.claims {
		return d.realm.isolations()[:1]
	}
	return d.realm.isolations()
}

func (d draft) keys() (names []string) {
	for i := range d.key.columns {
		names = append(names, fmt.Sprintf("k%d", i+1))
	}
	return names
}

// writable are the columns that a row is inserted with.
func (d draft) writable() []string {
	names := append(d.keys(), "u", "tick")
	for _, c := range d.columns {
		names = append(names, c.name)
	}
	return names
}

// create makes the table.
func (d draft) create(table string) string {
	var parts []string
	for i, typ := range d.key.columns {
		parts = append(parts, fmt.Sprintf("k%d %s NOT NULL", i+1, typ))
	}
	parts = append(parts, d.realm.fixed()...)
	for _, c := range d.columns {
		parts = append(parts, c.name+" "+c.trait.typ+d.realm.nullable(c.trait.typ, !c.notNull))
	}
	key := strings.Join(d.keys(), ", ")
	if d.key.unique {
		parts = append(parts, "CONSTRAINT c_key UNIQUE ("+key+")")
	} else {
		parts = append(parts, "CONSTRAINT c_key PRIMARY KEY ("+key+")")
	}
	parts = append(parts, d.extras...)
	return "CREATE TABLE " + table + " (\n  " + strings.Join(parts, ",\n  ") + ")"
}

func (d draft) statement(table string) string {
	return "ALTER TABLE " + table + " " + strings.Join(d.clauses, ", ")
}

// insert is a statement that inserts the row with a number, into %s.
func (d draft) insert(random *rand.Rand, n, tick int64) string {
	return "INSERT INTO %s (" + strings.Join(d.writable(), ", ") + ") VALUES " + d.row(random, n, tick)
}

func (d draft) row(random *rand.Rand, n, tick int64) string {
	values := append(d.key.values(n), d.realm.unique(n), fmt.Sprint(tick))
	for _, c := range d.columns {
		values = append(values, c.draw(random))
	}
	return "(" + strings.Join(values, ", ") + ")"
}

// where finds the row with a number.
func (d draft) where(n int64) string {
	var parts []string
	for i, v := range d.key.values(n) {
		parts = append(parts, fmt.Sprintf("k%d = %s", i+1, v))
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}

// set writes some columns, at least tick: so each update changes the row.
func (d draft) set(random *rand.Rand, tick int64) string {
	parts := []string{fmt.Sprintf("tick = %d", tick)}
	for _, c := range d.columns {
		if random.IntN(3) == 0 {
			parts = append(parts, c.name+" = "+c.draw(random))
		}
	}
	return strings.Join(parts, ", ")
}

// move gives a row another number.
func (d draft) move(n, to, tick int64) string {
	parts := []string{fmt.Sprintf("tick = %d", tick)}
	for i, v := range d.key.values(to) {
		parts = append(parts, fmt.Sprintf("k%d = %s", i+1, v))
	}
	return "UPDATE %s SET " + strings.Join(parts, ", ") + " WHERE " + d.where(n)
}

// drawColumns draws the columns that users write.
func drawColumns(random *rand.Rand, traits []trait) (out []column) {
	for i := range 2 + random.IntN(6) {
		c := column{name: fmt.Sprintf("c%d", i+1), trait: traits[random.IntN(len(traits))]}
		c.null = random.IntN(3) > 0
		c.notNull = !c.null && random.IntN(2) == 0
		out = append(out, c)
	}
	return out
}

// drawRows draws how many rows a table has: many have few.
func drawRows(random *rand.Rand) int { return 200 << random.IntN(7) * (3 + random.IntN(3)) / 4 }

// turning draws columns that get another type, by their numbers.
func turning(random *rand.Rand, columns []column) map[int]turn {
	var can []int
	for i, c := range columns {
		if len(c.trait.turns) > 0 {
			can = append(can, i)
		}
	}
	random.Shuffle(len(can), func(i, j int) { can[i], can[j] = can[j], can[i] })
	out := map[int]turn{}
	for _, i := range can[:min(len(can), []int{0, 1, 1, 1, 1, 2, 2, 3}[random.IntN(8)])] {
		turns := columns[i].trait.turns
		out[i] = turns[random.IntN(len(turns))]
	}
	return out
}

// some draws a few of what there is, in its order.
func some[T any](random *rand.Rand, all []T, most int) (out []T) {
	if len(all) == 0 {
		return nil
	}
	n := random.IntN(min(most, len(all)) + 1)
	chosen := random.Perm(len(all))[:n]
	slices.Sort(chosen)
	for _, i := range chosen {
		out = append(out, all[i])
	}
	return out
}

// quoted is a literal of a text, as all servers read it that take a backslash as it is, or twice.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// oddTexts are texts at the edges.
var oddTexts = []string{"", " ", "a", "A", "ä", "trailing ", "%s", "O'Brien", `"`, "日本語", "🦊", "e\u0301", "line\nbreak", "NULL", "-- ", "0"}
