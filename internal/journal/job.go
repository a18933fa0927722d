package journal

// JobText is the SQL of backfill jobs on one kind of server. Arguments stand in the order of the comments. Names of jobs begin
// with a scope, as trees do.
type JobText struct {
	Schema   []string
	Current  string                   // have they all columns?
	Newer    string                   // adds those that they had not at first
	Exists   string                   // are the tables there?
	Insert   string                   // name, table, spec; nothing if the name is taken
	Select   string                   // name prefix with % -> name, table, spec, status, want, after, upto, rows, bad, error, when it last moved and now, in seconds, rows gone through, to go through, and seconds of work; oldest first
	Start    string                   // name, upto: fixes the end
	Again    string                   // name: back to the beginning, with nothing done
	Move     string                   // name, after, rows, gone through, to go through, seconds: behind a batch, in its transaction
	State    string                   // name, status, error
	Want     string                   // name, want
	Bad      string                   // name, key, error: a row that is left out
	Probe    string                   // name: commit a tiny row
	Beats    func(name string) string // the query that answers how often it was committed
	Analyzed string                   // quoted table, column -> are there statistics of it? Empty where they are looked up in the index
	KeyIndex string                   // quoted table -> the index of its primary key; empty where that is PRIMARY
	Tied     string                   // quoted table, columns that are written, each in a line, or empty for a DELETE -> the foreign keys that it could break; empty where triggers cannot be left out
	Times    string                   // schema or empty, table -> columns that an UPDATE sets by itself; empty where there are none
	Triggers string                   // schema or empty, table, DELETE, all but those of replicas too are left out -> names of the triggers that fire
	Keys     string                   // schema or empty, table -> columns of the primary key, their types, whether they are whole numbers, their operators < <= = >= > each in a line; in order
}
