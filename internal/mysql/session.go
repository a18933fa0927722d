package mysql

import (
	"fmt"
	"strings"
	"time"

	"github.com/changeling-db/changeling/schema"
)

// Session is what the engine sets for its own connections, see Wrap. It holds until the next one.
type Session struct {
	Name     string        // under which the connection is found by who takes the change over; empty: under none
	LockWait time.Duration // of a row; of a table's definition at least the second that the server can count
	Settings map[string]string
	Parallel int           // threads of an index build, from MySQL 8.0.27 on; zero: the server's own
	Idle     time.Duration // after which the server ends a connection that is silent, and gives its locks back; zero: a minute
}

// mode is the sql_mode under which rows move. Strict, so that nothing is bent to fit; with 0 as a value of its own in an
// AUTO_INCREMENT column; with the dates that a table may hold already, whatever new ones would be refused.
const mode = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"

// SQL is one statement.
func (s Session) SQL() string {
	seconds := max(int64((s.LockWait+time.Second-1)/time.Second), 1)
	idle := int64(s.Idle / time.Second)
	if idle == 0 {
		idle = 60
	}
	zone := s.Settings["time_zone"]
	if zone == "" {
		zone = "+00:00"
	}
	set := []string{
		fmt.Sprintf("lock_wait_timeout = %d", seconds), fmt.Sprintf("innodb_lock_wait_timeout = %d", seconds), fmt.Sprintf("wait_timeout = %d", idle),
		"foreign_key_checks = 0", "sql_mode = " + literal(mode), "time_zone = " + literal(zone),
	}
	if s.Parallel > 0 {
		set = append(set, fmt.Sprintf("innodb_ddl_threads = %d", s.Parallel), fmt.Sprintf("innodb_parallel_read_threads = %d", s.Parallel), "innodb_ddl_buffer_size = 134217728")
	}
	if s.Name != "" {
		// The lock of the last lease goes, so that nobody takes the connection for one of it; that of sole stays.
		name := "CONCAT(LEFT(" + literal(s.Name) + ", 43), '/', CONNECTION_ID())"
		set = append(set, "@changeling = IF(COALESCE(RELEASE_LOCK(COALESCE(@changeling_lease, 'changeling nobody')), 0) >= 0, GET_LOCK("+name+", 0), 0)", "@changeling_lease = "+name)
	}
	return "SET SESSION " + strings.Join(set, ", ")
}

// Aside is where the source goes under the lock: to another name in its own database, because a table with triggers, and it
// has ours, cannot go to another one. Afterwards the triggers come off and it goes on to its place.
//
// The name sorts behind the source's: RENAME TABLE takes its locks in the order of the names, and Sentry needs the source's
// to be the first of the two.
func Aside(p schema.Pair) schema.Name {
	n := schema.Name{Schema: p.Source.Schema}
	for _, prefix := range []string{"", "zz_", "\uFFFD"} { // bytes count; the server may compare a name in small letters
		n.Table = prefix + "changeling_" + p.Change + "_old"
		if n.Table > p.Source.Table && n.Table > strings.ToLower(p.Source.Table) {
			break
		}
	}
	return n
}

// Swap takes the source out of its name and puts the shadow there, in one statement: the name never is without a table.
func Swap(p schema.Pair) string {
	if !Calls(p) {
		return SwapTo(p, Aside(p))
	}
	from, to := pass(p)
	return strings.Replace(SwapTo(p, p.Old), "RENAME TABLE ", "RENAME TABLE "+qualified(from)+" TO "+qualified(to)+", ", 1)
}

// SwapTo is Swap with another name for the source.
func SwapTo(p schema.Pair, old schema.Name) string {
	return "RENAME TABLE " + qualified(p.Source) + " TO " + qualified(old) + ", " + qualified(p.Shadow) + " TO " + qualified(p.Source)
}

// Named answers whether constraints of the source have names that the new table needs in the same database. Then the
// source goes to the other database at once, and its triggers have to come off under the lock.
func Named(p schema.Pair) string {
	return "SELECT EXISTS (SELECT 1 FROM information_schema.table_constraints k WHERE k.table_schema = " + literal(p.Source.Schema) + " AND k.table_name = " + literal(p.Source.Table) +
		" AND k.constraint_type IN ('CHECK', 'FOREIGN KEY'))"
}

func there(n schema.Name) string {
	return "EXISTS (SELECT 1 FROM information_schema.tables i WHERE i.table_schema = " + literal(n.Schema) + " AND i.table_name = " + literal(n.Table) +
		" AND i.table_type <> 'SEQUENCE')" // it may be the sentry's name
}

// Swapped answers whether Swap happened.
func Swapped(p schema.Pair) string {
	return "SELECT (" + there(p.Old) + " OR " + there(Aside(p)) + ") AND " + there(p.Source) + " AND NOT " + there(p.Shadow)
}

// IsAside answers whether the old table still stands aside, and PutAway takes it from there to its place.
func IsAside(p schema.Pair) string { return "SELECT " + there(Aside(p)) }

// PutAway may not run twice: see IsAside.
func PutAway(p schema.Pair) string {
	return "RENAME TABLE " + qualified(Aside(p)) + " TO " + qualified(p.Old)
}

// Referring answers which other tables' foreign keys refer to the source without being among its children, the first of them. It needs
// PROCESS, and no lock.
func (w Rows) Referring() string {
	// MariaDB lists the names of files, MySQL those of its dictionary.
	view, written := "innodb_foreign", func(n schema.Name) string { return literal(n.Schema + "/" + n.Table) }
	if w.Maria {
		view, written = "innodb_sys_foreign", func(n schema.Name) string { return literal(fileName(n.Schema) + "/" + fileName(n.Table)) }
	}
	own := []string{written(w.Pair.Source)}
	for _, n := range append(childTables(w.Pair), w.Pair.Kin...) {
		own = append(own, written(n))
	}
	return "SELECT REPLACE(i.for_name, '/', '.') FROM information_schema." + view + " i WHERE i.ref_name = " + own[0] + " AND i.for_name NOT IN (" + strings.Join(own, ", ") + ") LIMIT 3"
}

// Left answers how many keys are in the log, and whether the source was truncated.
func (w Rows) Left() string {
	reset := w.reset()
	if w.Pair.Binlog { // which told
		reset = "FALSE"
	}
	return "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM " + qualified(w.Pair.Log) + " changeling_log LIMIT 100000) x), " + reset
}

// Warm makes a session ready for the last drain: each statement sees what committed before it, the catalogue is as it is
// now, which on MariaDB it always is, and the temporary tables are there.
func (w Rows) Warm() []string {
	list := []string{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION autocommit = 0", w.own("taken"), w.judged().own("again"), w.judged().own("differing")}
	if !w.Maria {
		list = append(list, "SET SESSION information_schema_stats_expiry = 0")
	}
	return list
}

// Counters answers the next AUTO_INCREMENT values of the source and of the shadow, 0 where there is none. Under the lock: a
// value that was given out is not given out again, also if its row is gone; but one that the shadow's narrower type cannot have would let
// no row in any more, so the shadow then counts from its own rows. Needs information_schema_stats_expiry = 0.
func Counters(p schema.Pair) string {
	next := func(n schema.Name) string {
		return "(SELECT CAST(COALESCE(i.auto_increment, 0) AS UNSIGNED) FROM information_schema.tables i WHERE i.table_schema = " + literal(n.Schema) + " AND i.table_name = " + literal(n.Table) + ")"
	}
	most := "(SELECT ~0 >> (64 - CASE c.data_type WHEN 'tinyint' THEN 8 WHEN 'smallint' THEN 16 WHEN 'mediumint' THEN 24 WHEN 'int' THEN 32 ELSE 64 END + (c.column_type NOT LIKE '%unsigned%')) " +
		"FROM information_schema.columns c WHERE c.table_schema = " + literal(p.Shadow.Schema) + " AND c.table_name = " + literal(p.Shadow.Table) + " AND c.extra LIKE '%auto_increment%')"
	return "SELECT IF(n.next > COALESCE(" + most + ", n.next), 0, n.next), n.has FROM (SELECT " + next(p.Source) + " next, " + next(p.Shadow) + " has) n"
}

// SetCounter gives the shadow its next AUTO_INCREMENT value.
func SetCounter(p schema.Pair, next uint64) string {
	return fmt.Sprintf("ALTER TABLE %s AUTO_INCREMENT = %d", qualified(p.Shadow), next)
}
