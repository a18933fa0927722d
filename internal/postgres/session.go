package postgres

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/schema"
)

// Session is what a transaction of the engine sets for itself. Everything is SET LOCAL, so that nothing leaks through a
// pooler or into the pool of a library user.
type Session struct {
	Application string            // name under which the server shows the connection
	LockWait    time.Duration     // zero: wait without a bound; only where nobody can queue behind us
	Statement   time.Duration     // bound of one statement; zero: none
	Strong      bool              // takes a lock that conflicts with a vacuum
	Patient     bool              // may be silent for as long as it likes: it only holds the claim
	Path        string            // search_path; empty: only what is qualified is found
	Settings    map[string]string // what conversions depend on; nil: pinned, for texts that must always read alike
	Async       bool              // do not wait for the WAL; rows and positions still commit together
	ByKey       bool              // find rows by their key: statistics of a log and of a new table mislead the planner
	ByOrder     bool              // walk along the keys of two tables, side by side
	Memory      string            // maintenance_work_mem; empty: the server's own
	Parallel    int               // max_parallel_maintenance_workers; zero: the server's own, negative: none
}

// SQL is one text of several statements.
func (s Session) SQL() string {
	path := s.Path
	if path == "" {
		path = pinned
	}
	idle := "'60s'"
	switch {
	case s.Strong: // others wait behind it
		idle = "'5s'"
	case s.Patient:
		idle = "0"
	}
	set := []string{
		"application_name = " + ident.Literal(s.Application),
		fmt.Sprintf("lock_timeout = %d", s.LockWait.Milliseconds()),
		fmt.Sprintf("statement_timeout = %d", s.Statement.Milliseconds()),
		"idle_in_transaction_session_timeout = " + idle,
		"row_security = off",
		// The engine's own workers are the only ones: a parallel plan takes cores that nobody throttles, and starting its
		// processes cost 15 ms under the cutover's lock.
		"max_parallel_workers_per_gather = 0",
		"jit = off", // compiling takes longer than a chunk
	}
	set = append(set, assignments(s.Settings)...)
	if s.Async {
		set = append(set, "synchronous_commit = off")
	}
	if s.ByKey {
		set = append(set, "enable_hashjoin = off", "enable_mergejoin = off", "enable_seqscan = off", "enable_bitmapscan = off")
	}
	if s.ByOrder {
		set = append(set, "enable_hashjoin = off", "enable_sort = off", "enable_seqscan = off", "enable_bitmapscan = off")
	}
	if s.Memory != "" {
		set = append(set, "maintenance_work_mem = "+ident.Literal(s.Memory))
	}
	if s.Parallel != 0 {
		set = append(set, fmt.Sprintf("max_parallel_maintenance_workers = %d", max(s.Parallel, 0)))
	}
	set = append(set, "search_path = "+path)
	text := "SET LOCAL " + strings.Join(set, "; SET LOCAL ") +
		"; SELECT pg_catalog.set_config('transaction_timeout', '0', true) WHERE pg_catalog.current_setting('server_version_num')::int >= 170000"
	if s.Strong {
		// The server ends an autovacuum for a lock only when somebody has waited for deadlock_timeout, by default longer than
		// we wait at all; so on a table that is being vacuumed no lock would ever be had. Only a superuser may set it.
		text += "; SELECT pg_catalog.set_config('deadlock_timeout', '" + fmt.Sprint(max(s.LockWait.Milliseconds()/4, 1)) +
			"', true) WHERE pg_catalog.current_setting('is_superuser')::bool"
	}
	return text
}

// conversions are the settings that a value's way into and out of text, and so a conversion, depends on, with the values
// under which the engine reads and writes its own texts.
var conversions = map[string]string{"DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "TimeZone": "UTC", "extra_float_digits": "1", "bytea_output": "hex",
	"xmloption": "content", "xmlbinary": "base64", "default_text_search_config": "pg_catalog.simple", "lc_monetary": "C", "lc_time": "C", "lc_numeric": "C"}

// Pinned are the settings under which definitions that the catalogue wrote are read back.
func Pinned() map[string]string { return maps.Clone(conversions) }

// assignments are the conversions' settings as a user had them, or as pinned for nil.
func assignments(settings map[string]string) []string {
	if settings == nil {
		settings = conversions
	}
	var out []string
	for name, value := range settings {
		out = append(out, name+" = "+ident.Literal(value))
	}
	slices.Sort(out)
	return out
}

// Ours makes a transaction read and write the engine's own texts, which must always read alike.
func Ours() string {
	return "SET LOCAL " + strings.Join(append(assignments(nil), "search_path = "+pinned), "; SET LOCAL ")
}

// Theirs goes back to what a pair's rows are moved under.
func Theirs(p schema.Pair) string {
	if p.Path == "" {
		return theirs(pinned, p.Settings)
	}
	return theirs(p.Path, p.Settings)
}

func theirs(path string, settings map[string]string) string {
	return "SET LOCAL " + strings.Join(append(assignments(settings), "search_path = "+path), "; SET LOCAL ")
}

// As makes the transaction act as a role, the owner of both tables, so that expressions and functions of the user's own
// making run with his rights. Back is the end of it.
func As(role string) string { return "SET LOCAL ROLE " + ident.Quote(role) }

// Back ends As.
const Back = "SET LOCAL ROLE NONE"

// Apart sets up a session whose statements are refused in a transaction, so that SET LOCAL does not reach them. The session
// must end with its work. There is no bound for a lock: nobody who reads or writes queues behind SHARE UPDATE EXCLUSIVE, and a
// build that is given up begins anew. Parallel workers of an index build are for those who want it fast.
func Apart(application, path string, fast bool) string {
	workers := 0
	if fast {
		workers = 2
	}
	return "SELECT pg_catalog.set_config('application_name', " + ident.Literal(application) + ", false), pg_catalog.set_config('lock_timeout', '0', false), " +
		"pg_catalog.set_config('statement_timeout', '0', false), pg_catalog.set_config('idle_session_timeout', '0', false), " +
		fmt.Sprintf("pg_catalog.set_config('max_parallel_maintenance_workers', '%d', false), ", workers) +
		"pg_catalog.set_config('search_path', " + ident.Literal(cmp.Or(path, pinned)) + ", false); " +
		"SELECT pg_catalog.set_config('transaction_timeout', '0', false) WHERE pg_catalog.current_setting('server_version_num')::int >= 170000"
}

// Unwanted answers whether somebody has waited for longer than so many milliseconds ($2) for a lock that a server process ($1)
// keeps from him and that makes readers or writers queue behind him, and for whom that process waits itself.
const Unwanted = `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks w WHERE NOT w.granted AND w.locktype = 'relation'
    AND w.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND w.waitstart < pg_catalog.clock_timestamp() - $2::float8 * interval '1 millisecond' AND $1::int = ANY (pg_catalog.pg_blocking_pids(w.pid))),
  coalesce((SELECT pg_catalog.string_agg('pid ' || a.pid || coalesce(' of ' || a.usename, '') || coalesce(' (' || nullif(a.application_name, '') || ')', '') || coalesce(', ' || a.state, ''), '; ')
    FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (pg_catalog.pg_blocking_pids($1::int))), '')`
