package lint

import "github.com/changeling-db/changeling/plan"

// Auto says who makes the statement safe.
type Auto string

// Engine is the default of rules that have none.
const (
	Engine Auto = "engine" // changeling does it the safe way by itself: `run`, `migrate`, `backfill`
	Phases Auto = "phases" // a plan with a deploy or a decision in the middle
	Text   Auto = "text"   // other words in the file
	Person Auto = "person" // somebody has to think
)

// Rule is one thing that is looked for.
type Rule struct {
	ID      string
	Catches string // for a person
	Level   Level
	Auto    Auto
	On      string // servers: p PostgreSQL, m MySQL, d MariaDB; empty: all
	Since   int    // of PostgreSQL, the first version that has it
	// Optional rules are a matter of taste.
	Optional bool
	// Server rules are about what the server does: where a rehearsal says otherwise, it is right.
	Server bool

	clause    func(p *pass, k plan.Clause)
	statement func(p *pass)
	script    func(p *pass)
}

// on says that a rule is about a server.
func (r Rule) on(t Target) bool {
	letter := map[string]byte{"postgres": 'p', "mysql": 'm', "mariadb": 'd'}[t.Kind]
	for i := range r.On {
		if r.On[i] == letter {
			return r.Since == 0 || t.since(r.Since)
		}
	}
	return r.On == ""
}

// Rules are all rules, in the order of their ids. They are the union of what the linters of this field look for, and what was
// measured on servers besides.
func Rules() []Rule {
	return []Rule{
		{ID: "L00", Catches: "an ignore without a rule or a reason, or that nothing needs", Level: Error, Auto: Text},
		{ID: "L01", Catches: "a new column with a default that is computed for each row", Level: Error, Auto: Engine, Server: true, clause: volatileDefault},
		{ID: "L02", Catches: "a new serial, identity or AUTO_INCREMENT column", Level: Error, Auto: Engine, Server: true, clause: newSerial},
		{ID: "L03", Catches: "a new generated column that is stored", Level: Error, Auto: Engine, Server: true, clause: newStored},
		{ID: "L04", Catches: "a new NOT NULL column without a default", Level: Error, Auto: Engine, clause: requiredColumn},
		{ID: "L05", Catches: "a default that is dropped again where code still inserts without the column", Level: Warning, Auto: Phases, clause: defaultDropped},
		{ID: "L06", Catches: "a column of type json, which has no equality", Level: Warning, Auto: Text, On: "p", clause: jsonColumn},
		{ID: "L07", Catches: "a type change that writes the table anew", Level: Error, Auto: Engine, Server: true, clause: typeChange},
		{ID: "L08", Catches: "a type change of a column that a check reads", Level: Error, Auto: Engine, On: "p", Server: true, clause: typeUnderCheck},
		{ID: "L09", Catches: "a type change and NOT NULL in one statement", Level: Warning, Auto: Engine, clause: typeWithNotNull},
		{ID: "L10", Catches: "a type change that keeps the rows and builds indexes anew", Level: Error, Auto: Engine, On: "p", Server: true, clause: typeRebuildsIndex},
		{ID: "L11", Catches: "a USING that makes a free type change write the table anew", Level: Error, Auto: Text, On: "p", Server: true, clause: needlessUsing},
		{ID: "L12", Catches: "a type change that views or triggers stand in the way of", Level: Warning, Auto: Person, On: "p", clause: typeUnderView},
		{ID: "L13", Catches: "NOT NULL on a column that was there", Level: Error, Auto: Engine, Server: true, clause: setNotNull},
		{ID: "L14", Catches: "SET NOT NULL where a NOT VALID not-null constraint waits for its validation", Level: Error, Auto: Engine, On: "p", Since: 18, Server: true, clause: setNotNullPending},
		{ID: "L15", Catches: "a column is dropped", Level: Error, Auto: Phases, clause: dropColumn},
		{ID: "L16", Catches: "a column is dropped with the indexes and keys that have it", Level: Warning, Auto: Engine, clause: dropIndexedColumn},
		{ID: "L17", Catches: "a column is renamed", Level: Error, Auto: Phases, clause: renameColumn},
		{ID: "L18", Catches: "NOT NULL is dropped", Level: Warning, Auto: Person, clause: dropNotNull},
		{ID: "L19", Catches: "the default of a column changes", Level: Note, Auto: Person, clause: changeDefault},
		{ID: "L1a", Catches: "a new column called type, which frameworks take for a class", Level: Note, Auto: Person, clause: columnCalledType},
		{ID: "L1b", Catches: "a foreign key between columns of different types", Level: Warning, Auto: Text, clause: mismatchedKey, statement: mismatchedInTable},
		{ID: "L1c", Catches: "a limit of a text's length that is checked under the lock", Level: Error, Auto: Engine, Server: true, clause: textLimit},
		{ID: "L1d", Catches: "new timestamps with a default that is computed for each row", Level: Error, Auto: Engine, On: "p", Server: true, clause: volatileTimestamp},
		{ID: "L1e", Catches: "char(n)", Level: Note, Auto: Text, On: "p", clause: charColumn, statement: inTable(charColumn)},
		{ID: "L1f", Catches: "varchar(n) where text with a check would do", Level: Note, Auto: Text, On: "p", Optional: true, clause: varcharColumn, statement: inTable(varcharColumn)},
		{ID: "L1g", Catches: "a timestamp without a time zone, or one that ends in 2038", Level: Note, Auto: Text, clause: timestampColumn, statement: inTable(timestampColumn)},
		{ID: "L1h", Catches: "a date that is zero or has to be", Level: Warning, Auto: Text, On: "md", clause: zeroDate, statement: inTable(zeroDate)},
		{ID: "L1i", Catches: "FLOAT or DOUBLE", Level: Note, Auto: Text, On: "md", clause: floatColumn, statement: inTable(floatColumn)},
		{ID: "L1j", Catches: "a key that ends at two thousand million or before", Level: Warning, Auto: Text, clause: shortKey, statement: inTable(shortKey)},
		{ID: "L1k", Catches: "serial instead of an identity", Level: Note, Auto: Text, On: "p", clause: serialColumn, statement: inTable(serialColumn)},
		{ID: "L1l", Catches: "columns in an order that wastes space", Level: Note, Auto: Text, On: "p", Optional: true, statement: wastedSpace},
		{ID: "L1m", Catches: "MODIFY or CHANGE that loses attributes", Level: Warning, Auto: Text, On: "md", clause: lostAttributes},
		{ID: "L1n", Catches: "ENUM or SET members that are removed, moved or outgrow their size", Level: Error, Auto: Engine, On: "md", Server: true, clause: enumMembers},
		{ID: "L1o", Catches: "a value of an enum type without a place, renamed, or used where it is made", Level: Warning, Auto: Text, On: "p", statement: enumValue},
		{ID: "L1p", Catches: "a domain with constraints", Level: Warning, Auto: Person, On: "p", statement: domainConstraint},
		{ID: "L1q", Catches: "REFERENCES in a column, which MySQL reads and ignores", Level: Error, Auto: Text, On: "m", clause: ignoredReferences, statement: inTable(ignoredReferences)},
		{ID: "L1r", Catches: "another character set than utf8mb4, another engine than InnoDB", Level: Warning, Auto: Text, On: "md", Optional: true, clause: strangeOption, statement: strangeTable},

		{ID: "L30", Catches: "a check that reads all rows under the lock", Level: Error, Auto: Engine, Server: true, clause: addCheck},
		{ID: "L31", Catches: "a check, key or reference in the definition of a new column", Level: Error, Auto: Engine, Server: true, clause: inlineConstraint},
		{ID: "L32", Catches: "a foreign key that reads both tables while nobody writes", Level: Error, Auto: Engine, Server: true, clause: addForeignKey},
		{ID: "L33", Catches: "a validation in the transaction that made the constraint", Level: Error, Auto: Engine, On: "p", clause: validateAtOnce},
		{ID: "L34", Catches: "several foreign keys in one transaction, or a table dropped with several", Level: Warning, Auto: Engine, script: severalKeys},
		{ID: "L35", Catches: "a foreign key without an index on its columns", Level: Warning, Auto: Person, On: "p", clause: keyWithoutIndex, statement: inTable(keyWithoutIndex)},
		{ID: "L36", Catches: "a foreign key at all", Level: Note, Auto: Person, Optional: true, clause: anyForeignKey, statement: inTable(anyForeignKey)},
		{ID: "L37", Catches: "a foreign key is dropped", Level: Warning, Auto: Person, clause: dropForeignKey},
		{ID: "L38", Catches: "a unique or primary key whose index is built under the lock", Level: Error, Auto: Engine, Server: true, clause: addKey},
		{ID: "L39", Catches: "a primary key over a column that may be NULL", Level: Warning, Auto: Engine, Server: true, clause: nullableKey},
		{ID: "L40", Catches: "a unique key that the data may break", Level: Note, Auto: Engine, clause: duplicatesInKey, statement: duplicatesInIndex},
		{ID: "L41", Catches: "an exclusion constraint on a table in use", Level: Error, Auto: Engine, On: "p", Server: true, clause: addExclusion},
		{ID: "L42", Catches: "ALTER CONSTRAINT … ENFORCED, which reads all rows under the strongest lock", Level: Error, Auto: Engine, On: "p", Since: 18, Server: true, clause: enforce},
		{ID: "L43", Catches: "an index that is built while nobody can write", Level: Error, Auto: Engine, On: "p", Server: true, statement: plainIndex},
		{ID: "L44", Catches: "DROP INDEX, REINDEX or DETACH PARTITION that keep everybody out", Level: Error, Auto: Engine, On: "p", clause: plainDetach, statement: plainDropIndex},
		{ID: "L45", Catches: "CONCURRENTLY inside a transaction, which the server refuses", Level: Error, Auto: Engine, On: "p", clause: concurrentDetachInTx, statement: concurrentInTx},
		{ID: "L46", Catches: "IF NOT EXISTS, which is content with an index that a failed build left invalid", Level: Warning, Auto: Engine, On: "p", statement: invalidIndex},
		{ID: "L47", Catches: "an index that is dropped before the one in its place is there", Level: Warning, Auto: Engine, script: replacedIndex},
		{ID: "L48", Catches: "a concurrent build on PostgreSQL 14.0 to 14.3, which can miss rows", Level: Error, Auto: Person, On: "p", statement: corruptIndex},
		{ID: "L49", Catches: "an index that another one makes needless, or with many columns", Level: Note, Auto: Person, clause: redundantClause, statement: redundantIndex},
		{ID: "L50", Catches: "an index that is dropped without having been invisible first", Level: Note, Auto: Phases, On: "md", clause: dropVisible, statement: dropVisibleIndex},
		{ID: "L51", Catches: "the visibility of an index together with clauses that do more", Level: Warning, Auto: Text, On: "md", clause: mixedVisibility},
		{ID: "L52", Catches: "ALGORITHM=COPY, or a LOCK that keeps writers out", Level: Warning, Auto: Text, On: "md", clause: askedToCopy},
		{ID: "L53", Catches: "clauses that drag an instant one along", Level: Error, Auto: Text, On: "md", Server: true, statement: spoiledInstant},
		{ID: "L54", Catches: "two statements that each copy the same table", Level: Warning, Auto: Text, script: twoCopies},
		{ID: "L55", Catches: "instant columns where the server's versions have trouble with them", Level: Warning, Auto: Person, On: "md", clause: instantTrouble},
		{ID: "L56", Catches: "a partition that is made or attached while its rows, or the default partition's, are read", Level: Warning, Auto: Engine, On: "p", Server: true, clause: attachPartition, statement: newPartition},
		{ID: "L57", Catches: "the table is written anew: VACUUM FULL, CLUSTER, SET LOGGED, TABLESPACE, ACCESS METHOD, ENGINE, FORCE, partitioning", Level: Error, Auto: Engine, Server: true, clause: writtenAnew, statement: vacuumFull},
		{ID: "L58", Catches: "a table without a primary key", Level: Warning, Auto: Text, statement: noPrimaryKey, clause: dropsPrimaryKey},
		{ID: "L59", Catches: "REFRESH MATERIALIZED VIEW that keeps readers out", Level: Warning, Auto: Engine, On: "p", Server: true, statement: plainRefresh},

		{ID: "L60", Catches: "a table, a schema or a database is dropped", Level: Error, Auto: Phases, statement: dropTable},
		{ID: "L61", Catches: "TRUNCATE", Level: Warning, Auto: Person, statement: truncate},
		{ID: "L62", Catches: "schema and data changed in one migration", Level: Warning, Auto: Engine, script: mixed},
		{ID: "L63", Catches: "UPDATE, DELETE or INSERT … SELECT of a whole table in one transaction", Level: Error, Auto: Engine, statement: wholeTable},
		{ID: "L64", Catches: "strong locks on several tables, or a strong lock and long work, in one transaction", Level: Warning, Auto: Engine, On: "p", script: longTransaction},
		{ID: "L65", Catches: "no bound for the wait for locks", Level: Warning, Auto: Engine, script: unbounded},
		{ID: "L66", Catches: "a loop that changes rows one by one", Level: Warning, Auto: Person, statement: rowByRow},
		{ID: "L67", Catches: "a statement outside a transaction that cannot run again after a failure", Level: Note, Auto: Engine, script: notRerunnable},
		{ID: "L68", Catches: "BEGIN and COMMIT that fight with the runner's transaction, or a BEGIN without COMMIT", Level: Error, Auto: Text, script: ownTransactions},
		{ID: "L69", Catches: "a table's name without its schema", Level: Note, Auto: Text, Optional: true, statement: unqualified},
		{ID: "L70", Catches: "a table or a schema is renamed or moved", Level: Error, Auto: Phases, clause: renameTable, statement: renameOther},
		{ID: "L71", Catches: "a rename that a view under the old name covers: this is the safe way, as long as the view stays until the deploy", Level: Note, Auto: Phases, clause: coveredRename},
		{ID: "L72", Catches: "a table that is made in the place of another one", Level: Warning, Auto: Person, script: replacedTable},
		{ID: "L73", Catches: "code that cannot be looked into: DO, CALL, EXECUTE", Level: Note, Auto: Person, statement: opaque},
		{ID: "L74", Catches: "what the server will not understand: an open quote, a name that is too long, a column assigned twice", Level: Error, Auto: Text, statement: malformed},
		{ID: "L75", Catches: "a name that does not follow the rule for names (--names)", Level: Warning, Auto: Text, Optional: true, statement: badName, clause: badClauseName},
		{ID: "L76", Catches: "two migrations of one version, or one out of order", Level: Error, Auto: Text, script: versions},
		{ID: "L77", Catches: "data changed through a column that an earlier migration has taken away", Level: Error, Auto: Person, statement: goneColumn},
		{ID: "L78", Catches: "no way back, or one that loses data", Level: Note, Auto: Text, script: noWayBack},
		{ID: "L79", Catches: "expand and contract in one migration", Level: Warning, Auto: Phases, script: sameRelease},
		{ID: "L80", Catches: "rights, owners and extensions", Level: Note, Auto: Person, statement: rights, clause: newOwner},
		{ID: "L81", Catches: "long work as a step of a deploy", Level: Note, Auto: Engine, statement: longStep, clause: longValidation},
		{ID: "L82", Catches: "no ANALYZE after an index over an expression, or after a type change", Level: Note, Auto: Engine, On: "p", script: noAnalyze},
		{ID: "L83", Catches: "what replicas may do differently", Level: Warning, Auto: Person, On: "md", statement: replicas},
		{ID: "L84", Catches: "a trigger on the table, which a change by a second table has to carry; a replica identity that is missing", Level: Note, Auto: Person, statement: newTrigger},
		{ID: "L85", Catches: "what no rule knows: the rehearsal says that the server reads or writes all rows", Level: Error, Auto: Engine, Server: true, statement: rehearsed},
	}
}
