// Package plan turns a statement into a program: a list of steps that may each run twice.
//
// All routes are made of the same few kinds of steps, and a change is a program counter in its plan. A plan is a value:
// it is saved with the change as JSON, and a run that goes on after a crash loads it and continues at its step.
package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/changeling-db/changeling/schema"
)

// Format is the version of the saved form. A run refuses a plan of another one.
const Format = 1

// Route is the way a change goes.
type Route string

// The routes.
const (
	Direct       Route = "direct"        // the server does it at once, with a bounded lock
	Recipe       Route = "recipe"        // several statements, none of which holds a strong lock for long
	ShadowColumn Route = "shadow-column" // a second column in the same table, kept in step, swapped
	ShadowTable  Route = "shadow-table"  // a second table, kept in step, swapped
	Refuse       Route = "refuse"        // nothing is done, and the plan says why
)

// Kind says who carries a step out.
type Kind string

// The kinds of steps.
const (
	Exec    Kind = "exec"    // statements in one transaction, together with the step counter
	Loose   Kind = "loose"   // statements that the server refuses in a transaction; with Done, which is asked before and after
	Capture Kind = "capture" // install the key log; waits for open writers
	Copy    Kind = "copy"    // rows in chunks
	Heal    Kind = "heal"    // take logged rows out of the bare shadow
	Build   Kind = "build"   // one index or constraint; neighbours may run side by side
	Drain   Kind = "drain"   // apply the key log until little is left
	Fill    Kind = "fill"    // give the rows of a new column their values, in batches; SQL is a batch of a range, and one of any rows
	Data    Kind = "data"    // ask the plan's Checks of the source, before anything is made
	Ask     Kind = "check"   // ask for rows that break what the statement demands of them; SQL answers their keys
	Verify  Kind = "verify"  // compare source and shadow
	Trial   Kind = "trial"   // compare all rows as of one moment, on a replica, and take everything away again
	Hold    Kind = "hold"    // wait for a person, if asked to
	Live    Kind = "live"    // old and new are both in use, until a person says that the old one is not; no run waits for that
	Cutover Kind = "cutover" // the swap
	Aside   Kind = "aside"   // put something out of the way, or bring it back, in one transaction with the step counter
	Release Kind = "release" // take away what the change needed
	Drop    Kind = "drop"    // take away the old table, when its time has come
	Take    Kind = "take"    // make the change of another table, the step's Member, to its end, or to a cutover that is not its own
	Anew    Kind = "anew"    // plan what comes behind it again, now that the tables before are other ones
)

// Step is one instruction of a plan.
type Step struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"` // for a person
	// SQL runs in order. Empty for steps whose text depends on how far they are.
	SQL []string `json:"sql,omitempty"`
	// Path is the search_path that SQL is read under; empty: only what is qualified is found.
	Path string `json:"path,omitempty"`
	// Role is the role that SQL runs as; empty: the connection's own.
	Role string `json:"role,omitempty"`
	// Done is one query that answers whether the step happened. It is asked before a step runs again.
	// Empty where the step counter is saved in the transaction that did the work.
	Done string `json:"done,omitempty"`
	// While is one query that has to answer true before each attempt: what the plan rests on. If it does not, the change is planned again.
	While string `json:"while,omitempty"`
	// IfThere says of a step behind the swap that it is left out where what it is about was dropped or renamed since.
	IfThere bool `json:"if_there,omitempty"`
	// Ranged says of an Ask step that SQL asks of one range of the key at a time, whose condition stands where Range does.
	Ranged bool `json:"ranged,omitempty"`
	// Undo takes away what the step made or has left over, outside of a transaction. Each statement may run twice. It runs
	// before a Loose step is tried again, and in an abort.
	Undo []string `json:"undo,omitempty"`
	// Ask are queries that name the rows that stand in the way, if the step fails because of data. Those of an Aside step are asked
	// under its lock, which the first statement takes, and what they answer is why the others do not run.
	Ask []string `json:"ask,omitempty"`
	// Tables are those that the step locks, quoted: who holds them is looked at first.
	Tables []string `json:"tables,omitempty"`
	// Member is the change that a Take step makes.
	Member *Member `json:"member,omitempty"`
	// LockWait is the longest wait for a lock, and so the longest queue of others behind this step.
	LockWait time.Duration `json:"lock_wait_ns,omitempty"`
	// Lock is the strongest lock that the step takes on a table that others use, in the server's own words.
	Lock string `json:"lock,omitempty"`
	Why  string `json:"why"`
}

// Range stands for the condition of a range of the key in a question that is asked range by range.
const Range = "/* range */"

// Plan is what a change will do.
type Plan struct {
	Format    int         `json:"format"`
	ID        string      `json:"id"`
	Statement string      `json:"statement"`
	Table     schema.Name `json:"table"`
	Route     Route       `json:"route"`
	Why       string      `json:"why"`
	// Effect is what the server would do with the statement while others wait for it: direct, scan or rewrite. Empty: not known.
	Effect string `json:"effect,omitempty"`
	// Native is the lightest way in which MySQL or MariaDB itself would do the statement, rehearsed; nil: not known.
	Native *Native     `json:"native,omitempty"`
	Pair   schema.Pair `json:"pair"`
	Steps  []Step      `json:"steps"`
	// Checks ask for the rows of the source that break what the statement demands of them.
	Checks []Question `json:"checks,omitempty"`
	// Refusals say, for Refuse, what stands in the way and what to do about it.
	Refusals []string `json:"refusals,omitempty"`
	// Fingerprint identifies the source's definition that the plan was made for.
	Fingerprint string `json:"fingerprint"`
	Rows        int64  `json:"rows_estimate"`
	Bytes       int64  `json:"bytes"`                // source with indexes
	Heap        int64  `json:"heap_bytes,omitempty"` // its rows alone, where that is known
	// Undo is the plan that takes the change back after its cutover, as long as the old table is kept; nil if there is none, and
	// NoUndo says why where it was wanted.
	Undo   *Plan  `json:"undo,omitempty"`
	NoUndo string `json:"no_undo,omitempty"`
	// Undoes is the plan that this one takes back; nil for one that makes a change.
	Undoes *Plan `json:"undoes,omitempty"`
	// Made is, of a plan that undoes a change on PostgreSQL, what the table has as the change makes it, by name; nil: not known.
	Made []string `json:"made,omitempty"`
	// Back is the plan that brings back what the change has put aside; nil where that is nothing.
	Back *Plan `json:"back,omitempty"`
	// Lossy says of an undo that rows which do not fit the old table may be left out.
	Lossy bool `json:"lossy,omitempty"`
	// With is, of the plan of a family's table that swaps together with the others, the id of the change whose cutover does it.
	With string `json:"with,omitempty"`
	// Family is how a plan that takes other tables along makes their changes; nil for one that takes none.
	Family *Family `json:"family,omitempty"`
	// Spare is the additional disk space that the change needs at its peak, in bytes.
	Spare int64 `json:"spare_bytes"`
	// Ways are those that could be gone, with what each would cost, where there is a choice.
	Ways []Way `json:"ways,omitempty"`
}

// Member is a table of a family that is changed along with the plan's own, by a change with an id of its own.
type Member struct {
	Change    string      `json:"change"`
	Table     schema.Name `json:"table"`
	Statement string      `json:"statement"`
}

// Family is what the changes of a family have in common, whoever goes on with them.
type Family struct {
	Statement string `json:"statement"`       // for the plan's own table, with the columns of it that refer to itself
	Route     Route  `json:"route,omitempty"` // that was asked for
	UndoLog   int64  `json:"undo_log"`        // how large the log of an undo may become; zero: there is none
	// Kin are the identities of the family's tables where all of them are swapped in one transaction, and Keys the foreign keys between them.
	Kin  []uint32    `json:"kin,omitempty"`
	Keys []FamilyKey `json:"keys,omitempty"`
	// Tables are, on MySQL, those that are swapped together, with their statements and without changes of their own.
	Tables []Member `json:"tables,omitempty"`
}

// FamilyKey is a foreign key between two tables that are swapped together: statements that take it off, put it back and make it valid.
type FamilyKey struct {
	Name     string   `json:"name"`
	Drop     string   `json:"drop"`
	Add      []string `json:"add"`
	Validate string   `json:"validate,omitempty"` // empty for one that was not
}

// Native is how a server of MySQL or MariaDB does a statement by itself.
type Native struct {
	Algorithm string `json:"algorithm"`      // INSTANT, INPLACE or COPY
	Lock      string `json:"lock,omitempty"` // NONE, or SHARED where writers are shut out; empty for INSTANT
	Rebuild   bool   `json:"rebuild,omitempty"`
}

// Way is a route, and what it would cost. The figures are estimates.
type Way struct {
	Route  Route `json:"route"`
	Log    int64 `json:"log_bytes"`              // of write-ahead log; on MySQL and MariaDB of redo log and binary log
	Binlog int64 `json:"binlog_bytes,omitempty"` // of these, what the binary log gets, and each replica
	Spare  int64 `json:"spare_bytes"`            // of disk, at its peak
	Dead   int64 `json:"dead_bytes"`             // that it leaves in the table, for a vacuum and for rows to come
	// Why says why it cannot be gone; empty if it can.
	Why string `json:"why,omitempty"`
}

// Question is one to the data that can be asked before anything is done. It changes nothing.
type Question struct {
	Name string `json:"name"` // for a person
	SQL  string `json:"sql"`  // answers keys of rows that break it
	// Chunked says that SQL asks of one part of the table at a time, whose condition stands where Range does.
	Chunked bool `json:"chunked,omitempty"`
	// Whole says that SQL reads and sorts the table in one piece.
	Whole bool `json:"whole,omitempty"`
	// Columns are those whose values SQL answers, where that is not the key.
	Columns []string `json:"columns,omitempty"`
	// Tries says that SQL answers nothing and fails if a row breaks it: rows are then found by asking of fewer and fewer.
	Tries bool `json:"tries,omitempty"`
	// Twin are the columns of a temporary table that SQL writes to, and which stands where Twin does in it; it is never committed.
	Twin []string `json:"twin,omitempty"`
	// Path and Role are those that SQL runs under, as of a Step.
	Path string `json:"path,omitempty"`
	Role string `json:"role,omitempty"`
}

// Twin stands for the name of a temporary table in a question that has one.
const Twin = "/* twin */"

// LookFirst puts the questions to the data in front of a plan that copies rows, and says of the copy why there is none.
func (p *Plan) LookFirst() {
	if len(p.Checks) == 0 {
		if i := p.Find(Copy); i >= 0 {
			p.Steps[i].Why += "; there is no row that could break what the statement demands, so none is looked for before"
		}
		return
	}
	var names []string
	for _, q := range p.Checks {
		names = append(names, q.Name)
	}
	p.Steps = append([]Step{{Kind: Data, Name: "check data", Lock: "none",
		Why: "rows that break what the statement demands are looked for in short statements that only read, before anything is made: " + strings.Join(names, ", ")}}, p.Steps...)
}

// Turn is the index of the step behind which there is nothing to abort any more, and something old is kept: the cutover, or what puts
// something aside. It is -1 where there is none.
func (p *Plan) Turn() int {
	if i := p.Find(Aside); i >= 0 {
		return i
	}
	return p.Find(Cutover)
}

// Ahead is how many steps come before those of the plan's own table: the other tables of its family, and what goes with them.
func (p *Plan) Ahead() int { return p.Find(Anew) + 1 }

// Jointly says that the plan swaps the other tables of its family together with its own.
func (p *Plan) Jointly() bool { return p.Family != nil && p.Family.Jointly() }

// Jointly says that all tables of the family are swapped together.
func (f *Family) Jointly() bool { return len(f.Kin)+len(f.Tables) > 0 }

// Members are the other tables of a plan's family, each once.
func (p *Plan) Members() (out []Member) {
	for _, s := range p.Steps {
		if s.Kind == Take && !slices.ContainsFunc(out, func(m Member) bool { return m.Change == s.Member.Change }) {
			out = append(out, *s.Member)
		}
	}
	return out
}

// Covers says that the change leaves a view under the old name of its table, which is what it keeps.
func (p *Plan) Covers() bool { return p.Back != nil && p.Pair.Old == p.Pair.Source }

// Attaches says that the change makes a table a partition of one that takes its place.
func (p *Plan) Attaches() bool { return p.Back != nil && len(p.Pair.ShadowParts) > 0 }

// Last is the index of the step that a change which is done stands at: the drop, or behind all of them.
func (p *Plan) Last() int {
	if i := p.Find(Drop); i >= 0 {
		return i
	}
	return len(p.Steps)
}

// Find is the index of the first step of a kind, or -1.
func (p *Plan) Find(k Kind) int {
	for i, s := range p.Steps {
		if s.Kind == k {
			return i
		}
	}
	return -1
}
