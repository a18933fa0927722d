package mysql

import (
	"slices"

	"github.com/changeling-db/changeling/schema"
)

// Foreign keys of the table itself on MariaDB, where the RENAME is another session's and happens under no lock of ours. What foreign.go says
// holds here too, and is brought about like this:
//
//  1. Guards have the READ locks of the tables that the keys refer to. Nobody writes to a parent then, so a key that stands on the shadow, or
//     on the old table, is in nobody's way; and no transaction holds the table itself because it wrote to a parent, as the server lets it.
//     Waiting for such a lock holds up nobody.
//  2. The carrier, a procedure in a session of its own, gives the shadow its keys, with foreign_key_checks off a matter of the catalogue
//     that asks for no lock of a parent (tried on 10.11 and 11.8). Then it waits.
//  3. The tables are swapped as ever, see sentry.go. The mover's session has a named lock: as long as it does, the outcome is open.
//  4. The carrier sees that the tables are swapped, and takes the keys off the old one; or that the mover has gone, and takes them off the shadow.
//  5. The guards wait in the server for the carrier's end, and let go.
//
// Whoever of the run dies, the server goes on to 5. The carrier and the guards do not bear the lease's name, so that who takes the change over
// does not end them either; they end by themselves. Only who kills the carrier, or the server, leaves keys where they do not belong, until the next
// attempt, step or abort.
//
// The old table has to leave its database at once, in which each name of a key is once. So the RENAME cannot be barred on the name that the old
// table goes to, which may sort before the source's. It needs a pass instead: a sequence that it takes along, and that is made
// where the sentry is dropped elsewhere.

func namedLock(p schema.Pair, of string) string { return literal("changeling " + p.Change + " " + of) }

// Carry takes the carrier's lock for a connection if nobody has it, and answers whether it did.
func Carry(p schema.Pair) string {
	return "SELECT COALESCE(GET_LOCK(" + namedLock(p, "carries") + ", 0), 0)"
}

// Guarded are the tables that the keys refer to, quoted, but for the table itself.
func Guarded(p schema.Pair) []string {
	var out []string
	for _, k := range p.Foreign {
		if k.Parent != "" {
			out = append(out, k.Parent)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Guard takes the lock of one of them, and OnGuard holds it, in the server, until the carrier has ended.
func Guard(table string) string { return "LOCK TABLES " + table + " READ" }

// OnGuard is bounded: a carrier is at work for some hundredths of a second.
func OnGuard(p schema.Pair) string {
	lock := namedLock(p, "carries")
	return "DO GET_LOCK(" + lock + ", 20), RELEASE_LOCK(" + lock + ")"
}

// GuardsOn answers how many guards wait for that. The caller bounds it: a guard that is lost shows in what it waits for.
func GuardsOn(p schema.Pair) string {
	return "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock' AND info = " + literal(OnGuard(p))
}

// Moves says that a connection is the mover's.
func Moves(p schema.Pair) string { return "DO GET_LOCK(" + namedLock(p, "moves") + ", 0)" }

// Given answers whether the carrier has given the shadow its keys.
func Given(p schema.Pair) string {
	return "SELECT IS_USED_LOCK(" + namedLock(p, "given") + ") IS NOT NULL"
}

// installCarrier is InstallSwap on MariaDB.
func installCarrier(p schema.Pair) []string {
	clear, give, take, _ := keyParts(p)
	swapped := "(" + Swapped(p) + ")"
	return []string{"DROP PROCEDURE IF EXISTS " + swapping(p),
		"CREATE PROCEDURE " + swapping(p) + "() SQL SECURITY INVOKER BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN " + clear + "RESIGNAL; END; " + clear + give +
			"DO GET_LOCK(" + namedLock(p, "given") + ", 0); " +
			"WHILE IS_USED_LOCK(" + namedLock(p, "moves") + ") IS NOT NULL AND NOT " + swapped + " DO DO SLEEP(0.001); END WHILE; " +
			"IF " + swapped + " THEN " + take + "DO 0; ELSE " + clear + "DO 0; END IF; END"}
}

// pass is the sequence without which the RENAME fails, and where it takes it.
func pass(p schema.Pair) (from, to schema.Name) {
	to = schema.Name{Schema: p.Log.Schema, Table: "pass_" + p.Change}
	if turnedRound(p) {
		to.Table = "undo_" + to.Table
	}
	return Aside(p), to
}

// dropPass may run twice.
func dropPass(p schema.Pair) string {
	_, to := pass(p)
	return "DROP SEQUENCE IF EXISTS " + qualified(to)
}

// Outgoing is where a swap takes the old table of a pair with foreign keys, and on MariaDB of any.
func Outgoing(p schema.Pair) schema.Name {
	if Calls(p) && !Stays(p) {
		return p.Old
	}
	return Aside(p)
}

// ForeignKeysOf answers the foreign keys that a table has, each as the statement that drops it.
func ForeignKeysOf(n schema.Name) string {
	return "SELECT CONCAT(" + literal("ALTER TABLE "+qualified(n)+" DROP FOREIGN KEY `") + ", REPLACE(k.constraint_name, '`', '``'), '`') FROM information_schema.table_constraints k WHERE k.table_schema = " +
		literal(n.Schema) + " AND k.table_name = " + literal(n.Table) + " AND k.constraint_type = 'FOREIGN KEY'"
}
