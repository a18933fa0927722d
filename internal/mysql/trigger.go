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

// Triggers of users. A name of a trigger is unique in a database, a trigger cannot get another name, and a table with triggers
// cannot change its database. So the shadow of a table that has some stands in the table's own database, and gets stand-ins:
// triggers that do the same under names of the change's own. RENAME puts the table with its stand-ins in place, so no user
// ever writes without his triggers. Afterwards, still under the lock, each one is made under its own name, which its stand-in
// sees and is silent from then on, and the stand-ins are dropped. A run that dies in between leaves a table that does the right
// thing; the next one goes on there.
//
// A stand-in is silent too for the engine, which fills the shadow: it sets @changeling in its sessions.
//
// On MariaDB the RENAME is another session's, and nobody has a lock right behind it. There one more session queues for it, and gives the
// triggers their names then; users who come before it fire the stand-ins.

// userTrigger is a trigger as the catalogue has it.
type userTrigger struct {
	name, timing, event, definer, mode, charset, collation, database, body, created string

	words   string // its own up to FOR EACH ROW, on MariaDB, which keeps them; else empty
	gap     string // between them and the body
	garbled bool   // they and the body do not fit together
}

// userTriggers are those of a table, in the order in which they fire.
func userTriggers(ctx context.Context, q DB, n schema.Name) ([]userTrigger, error) {
	d, err := ask(ctx, q)
	if err != nil {
		return nil, err
	}
	list, err := listTriggers(ctx, q, n)
	for i := range list {
		if err == nil && list[i].definer == "" { // MariaDB shows the name alone to who has no right to more
			err = &fault.Problem{Kind: fault.Precondition, Text: fmt.Sprintf("the trigger %s of %s is not shown to this account. Needed: GRANT TRIGGER ON %s.* for it. Nothing was changed", list[i].name, n, quote(n.Schema))}
		}
		if err == nil && d.maria {
			err = list[i].read(ctx, q, n.Schema)
		}
	}
	return list, err
}

// read takes a trigger's text as it was given. The list shows a letter of four bytes in the body as a question mark.
func (t *userTrigger) read(ctx context.Context, q DB, database string) error {
	var text, none sql.NullString
	if err := q.QueryRowContext(ctx, "SHOW CREATE TRIGGER "+qualified(schema.Name{Schema: database, Table: t.name})).Scan(&none, &none, &text, &none, &none, &none, &none); err != nil {
		return err
	}
	all, listed := []rune(text.String), []rune(t.body)
	at := len(all) - len(listed)
	if t.garbled = at < 0; t.garbled {
		return nil
	}
	for i, c := range all[at:] {
		t.garbled = t.garbled || c != listed[i] && c <= '\uFFFF'
	}
	t.words, t.body = string(all[:at]), string(all[at:])
	if tokens := significant(t.words); len(tokens) > 0 {
		end := tokens[len(tokens)-1].End
		t.words, t.gap = t.words[:end], t.words[end:] // a clause that says the order stands between, and is not kept
	} else {
		t.garbled = true
	}
	return nil
}

func listTriggers(ctx context.Context, q DB, n schema.Name) ([]userTrigger, error) {
	rows, err := q.QueryContext(ctx, "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, DEFINER, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, DATABASE_COLLATION, "+
		"ACTION_STATEMENT, CAST(UNIX_TIMESTAMP(CREATED) AS CHAR) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = "+literal(n.Schema)+" AND EVENT_OBJECT_TABLE = "+literal(n.Table)+
		" AND "+others+" ORDER BY EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []userTrigger
	for rows.Next() {
		var t userTrigger
		var definer, body sql.NullString
		if err := rows.Scan(&t.name, &t.timing, &t.event, &definer, &t.mode, &t.charset, &t.collation, &t.database, &body, &t.created); err != nil {
			return nil, err
		}
		t.definer, t.body = definer.String, body.String
		out = append(out, t)
	}
	return out, rows.Err()
}

// head is the statement up to the body. follows is the trigger behind which it fires, or empty.
func (t userTrigger) head(name, on schema.Name, follows string) string {
	at := max(strings.LastIndex(t.definer, "@"), 0)
	text := "CREATE DEFINER=" + quote(t.definer[:at]) + "@" + quote(strings.TrimPrefix(t.definer[at:], "@")) + " TRIGGER " + qualified(name) + " " + t.timing + " " + t.event +
		" ON " + qualified(on) + " FOR EACH ROW "
	if follows != "" {
		text += "FOLLOWS " + quote(follows) + " "
	}
	return text
}

// standIn is the statement that makes a stand-in on a table. It is silent for the engine, and once the trigger itself is on
// the table that it is for.
func (t userTrigger) standIn(name, on, source schema.Name) string {
	return t.head(name, on, "") + "BEGIN IF @changeling IS NULL AND NOT EXISTS (SELECT 1 FROM information_schema.triggers WHERE event_object_schema = " + literal(source.Schema) +
		" AND event_object_table = " + literal(source.Table) + " AND trigger_name = " + literal(t.name) + ") THEN " + t.body + "\n; END IF; END" // by the table MariaDB looks at no other
}

// again are the statements that make a trigger itself behind its stand-in. MariaDB keeps the words, in which names may have no database;
// whoever sends them is not used for anything else.
func (t userTrigger) again(source schema.Name, standIn string) []string {
	if t.words == "" {
		return []string{t.settings(), t.head(schema.Name{Schema: source.Schema, Table: t.name}, source, standIn) + t.body, settled}
	}
	gap := t.gap
	if strings.Contains(t.mode, "ORACLE") && strings.HasPrefix(gap, " ") { // where what is before the clause is kept, too
		gap = gap[1:]
	}
	return []string{"USE " + quote(source.Schema), t.settings(), t.words + " FOLLOWS " + quote(standIn) + gap + t.body, settled}
}

// settings are those that a trigger keeps of the session that makes it.
func (t userTrigger) settings() string {
	return "SET SESSION sql_mode = " + literal(t.mode) + ", character_set_client = " + literal(t.charset) + ", collation_connection = " + literal(t.collation) + ", timestamp = " + t.created
}

// settled takes the settings back.
var settled = ours() + ", timestamp = DEFAULT" + Then + "SET NAMES utf8mb4"

// unfit says why a trigger cannot be made again as it is, or nothing.
func (t userTrigger) unfit(databaseCollation string) string {
	switch {
	case t.garbled:
		return "its text and its body, as the server shows them, do not fit together: make it again first"
	case t.database != databaseCollation:
		return fmt.Sprintf("it was made when the database's collation was %s, and it is %s now: make it again first", t.database, databaseCollation)
	case !strings.HasPrefix(t.charset, "utf8") && strings.ContainsFunc(t.body, func(c rune) bool { return c > '~' }):
		return fmt.Sprintf("it has letters beyond ASCII in the character set %s: make it again first, with SET NAMES utf8mb4", t.charset)
	}
	return ""
}

// carry fills in the triggers that the new table gets, and where the shadow stands then. What the server says to each is tried
// on the twin, after the statement. It answers why it cannot be done.
func (w *planner) carry(ctx context.Context, r *rehearsal, p *schema.Pair) (refusals []string, err error) {
	list, err := userTriggers(ctx, w.conn, r.source.Name)
	if err == nil && len(list) == 0 {
		return w.unseen(ctx, r.source.Name)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range r.source.Parts {
		if r.source.Maria {
			break // there such a name is the table's own
		}
		named := c.Check && !strings.HasPrefix(c.Name, r.source.Name.Table+"_chk_")
		if named && slices.ContainsFunc(r.shadow.Parts, func(s part) bool { return s.Check && s.Name == c.Name }) {
			refusals = append(refusals, fmt.Sprintf("%s has triggers and the check %s: the new table cannot get the name of the check while the old one has it, and the old one cannot leave the database while it has triggers. "+
				"Drop one of them first, and make it again afterwards", r.source.Name, c.Name))
		}
	}
	p.Shadow = nearby(*p)
	unfit, err := stands(ctx, w.conn, p, list, r.shadowName(), r.source.DatabaseCollation)
	return append(refusals, unfit...), err
}

// unseen refuses an account to which MySQL does not show triggers, whether there are some or not.
func (w *planner) unseen(ctx context.Context, n schema.Name) ([]string, error) {
	if w.dialect.maria {
		return nil, nil // see userTriggers
	}
	rights, err := ReadRights(ctx, w.conn)
	if err != nil || len(rights.Lacks(n.Schema, "TRIGGER")) == 0 {
		return nil, err
	}
	var granted bool // on this table alone
	err = w.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM information_schema.table_privileges WHERE privilege_type = 'TRIGGER' AND table_schema = "+literal(n.Schema)+
		" AND table_name = "+literal(n.Table)+")").Scan(&granted)
	if err != nil || granted {
		return nil, err
	}
	return []string{fmt.Sprintf("whether %s has triggers is not shown to this account, and the new table would be without them. Needed: %s", n, rights.Grant([]string{"TRIGGER"}, quote(n.Schema)+".*"))}, nil
}

// nearby is where the shadow of a table with triggers stands.
func nearby(p schema.Pair) schema.Name {
	return schema.Name{Schema: p.Source.Schema, Table: "changeling_" + p.Change + "_new"}
}

// stands fills in the triggers that the new table gets. Each is tried on a twin of it, in a database of the change's own. It answers which
// cannot be carried, and why.
func stands(ctx context.Context, q DB, p *schema.Pair, list []userTrigger, twin schema.Name, databaseCollation string) (refusals []string, err error) {
	for i, t := range list {
		stand := schema.Name{Schema: p.Source.Schema, Table: fmt.Sprintf("changeling_%s_t%d", p.Change, i+1)}
		why := t.unfit(databaseCollation)
		if why == "" {
			why, err = tried(ctx, q, t.settings()+Then+t.standIn(schema.Name{Schema: twin.Schema, Table: stand.Table}, twin, p.Source)+Then+settled)
			if err != nil {
				return nil, err
			}
		}
		if why != "" {
			refusals = append(refusals, fmt.Sprintf("the trigger %s of %s cannot be carried: %s", t.name, p.Source, why))
		}
		p.Triggers = append(p.Triggers, schema.Trigger{Name: t.name, StandIn: stand.Table,
			Stand: []string{"DROP TRIGGER IF EXISTS " + qualified(stand), t.settings(), t.standIn(stand, p.Shadow, p.Source), settled},
			Make:  t.again(p.Source, stand.Table)})
	}
	return refusals, nil
}

// carryStep makes the stand-ins.
func carryStep(p schema.Pair) plan.Step {
	var stand []string
	for _, t := range p.Triggers {
		stand = append(stand, t.Stand...)
	}
	return plan.Step{Kind: plan.Exec, Name: "carry triggers", SQL: stand, Lock: "none",
		Why: "your triggers, on the shadow and under names of the change's own, silent for the change itself; under the swap's lock they get their own names"}
}

// tried runs statements on the twin, and answers what the server has against them.
func tried(ctx context.Context, q DB, text string) (why string, err error) {
	for one := range strings.SplitSeq(text, Then) {
		if _, err := q.ExecContext(ctx, one); err != nil {
			err = coded(err)
			for back := range strings.SplitSeq(settled, Then) { // the text may have changed more than the mode
				if _, err := q.ExecContext(ctx, back); err != nil {
					return "", err
				}
			}
			if own := words(err); own != err.Error() {
				return "the server says: " + own, nil
			}
			return "", err
		}
	}
	return "", nil
}

// Stays says that the shadow stands in the source's own database, see above.
func Stays(p schema.Pair) bool { return p.Shadow.Schema == p.Source.Schema }

// TriggerTables answers the triggers of the two tables of a swap: name and table. Of others MariaDB would wait for locks.
func TriggerTables(p schema.Pair) string {
	of := func(n schema.Name) string {
		return "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE event_object_schema = " + literal(n.Schema) + " AND event_object_table = " + literal(n.Table)
	}
	return of(p.Source) + " UNION ALL " + of(Aside(p))
}

// Settle gives the triggers of the new table their names, after the swap and under a lock on both tables. on is what
// TriggerTables answered: what is left to be done depends on it. At no moment is a trigger without a stand-in that fires, or
// with one that fires too.
func Settle(p schema.Pair, on map[string]string) []string {
	drop := func(name string) string {
		return "DROP TRIGGER IF EXISTS " + qualified(schema.Name{Schema: p.Source.Schema, Table: name})
	}
	var out []string
	for _, t := range p.Triggers {
		if on[t.Name] != p.Source.Table {
			if on[t.Name] != "" {
				out = append(out, drop(t.Name)) // from the old table
			}
			out = append(out, t.Make...)
		}
		if on[t.StandIn] != "" {
			out = append(out, drop(t.StandIn))
		}
	}
	return out
}

// LockSwapped locks both tables after a swap.
func LockSwapped(p schema.Pair) string {
	return "LOCK TABLES " + qualified(p.Source) + " WRITE, " + qualified(Aside(p)) + " WRITE"
}
