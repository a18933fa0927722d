package journal

// JobText is the SQL of backfill jobs on one kind of server. Arguments stand in the order of the comments. Names of jobs begin
// with a scope, as trees do.
type JobText struct {
	Schema []string
	Exists string                   // are the tables there?
	Insert string                   // name, table, spec; nothing if the name is taken
	Select string                   // name prefix with % -> name, table, spec, status, want, after, upto, rows, bad, error, when it last moved and now, in seconds; oldest first
	Start  string                   // name, upto: fixes the end
	Again  string                   // name: back to the beginning, with nothing done
	Move   string                   // name, after, rows: behind a batch, in its transaction
	State  string                   // name, status, error
	Want   string                   // name, want
	Bad    string                   // name, key, error: a row that is left out
	Probe  string                   // name: commit a tiny row
	Beats  func(name string) string // the query that answers how often it was committed
	Keys   string                   // schema or empty, table -> columns of the primary key, their types, whether they are whole numbers, their operators < <= = >= > each in a line; in order
}
