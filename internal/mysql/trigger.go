package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

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

// userTrigger is a trigger as the catalogue has it.
type userTrigger struct {
	name, timing, event, definer, mode, charset, collation, database, body, created string
}

func userTriggers(ctx context.Context, q DB, n schema.Name) ([]userTrigger, error) {
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
		if err := rows.Scan(&t.name, &t.timing, &t.event, &t.definer, &t.mode, &t.charset, &t.collation, &t.database, &t.body, &t.created); err != nil {
			return nil, err
		}
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
	return t.head(name, on, "") + "BEGIN IF @changeling IS NULL AND NOT EXISTS (SELECT 1 FROM information_schema.triggers WHERE trigger_schema = " + literal(source.Schema) +
		" AND trigger_name = " + literal(t.name) + " AND event_object_table = " + literal(source.Table) + ") THEN " + t.body + "\n; END IF; END"
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
	if err != nil || len(list) == 0 {
		return nil, err
	}
	for _, c := range r.source.Parts {
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
			Make:  []string{t.settings(), t.head(schema.Name{Schema: p.Source.Schema, Table: t.name}, p.Source, stand.Table) + t.body, settled}})
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

// TriggerTables answers the tables of the triggers in the source's database: name and table.
func TriggerTables(p schema.Pair) string {
	return "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE trigger_schema = " + literal(p.Source.Schema)
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
	}
	for _, t := range p.Triggers {
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
