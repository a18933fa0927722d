// Package schema holds the plain values that the other packages talk about: names, columns, and the pair of tables
// that a change is about. It knows no database and imports nothing of this project.
package schema

// Pair is a source and its shadow, and how a row of one becomes a row of the other.
// It is fixed when a change is planned and is saved with the plan. All texts are SQL of the change's server.
type Pair struct {
	Change string `json:"change"` // id of the change
	Source Name   `json:"source"`
	Shadow Name   `json:"shadow"`
	Old    Name   `json:"old"` // where the source goes at the cutover
	// Rests is, of an undo, where the old table stands until the undo begins, and where it goes back to if the undo is given up. Empty: where
	// the shadow is.
	Rests   Name `json:"rests,omitzero"`
	Log     Name `json:"log"` // the key log
	Checks  Name `json:"checks"`
	Alive   Name `json:"alive,omitzero"` // holds a row as long as the server has not crashed; empty where a crash empties neither table
	Capture Name `json:"capture"`        // the function or the prefix of the triggers that write the log
	// SourceParts and ShadowParts are the partitions of a source or a shadow that has some, by which PartedBy tells the columns; Known holds, of a
	// capture that stands on a partitioned table, what its partitions were when it began.
	SourceParts []Name   `json:"source_parts,omitempty"`
	ShadowParts []Name   `json:"shadow_parts,omitempty"`
	PartedBy    []string `json:"parted_by,omitempty"`
	Known       Name     `json:"known,omitzero"`
	// Binlog says that no trigger writes the log, but the run, from what it reads in the server's binary log.
	Binlog  bool     `json:"binlog,omitempty"`
	Table   uint32   `json:"table"`   // the source's identity, where the server has one
	Owner   string   `json:"owner"`   // role that owns both, under which rows are copied
	Columns []Mapped `json:"columns"` // what a copied row gets from the source
	Kept    []Kept   `json:"kept,omitempty"`
	Key     []Key    `json:"key"`
	// First is the name of the capture's trigger for rows where it has to fire before the user's; empty: that of the capture.
	First string `json:"first,omitempty"`
	// Published says that subscribers may read the table.
	Published bool `json:"published,omitempty"`
	// Triggers are those of the user's that the new table gets, in the order in which they fire, where that is done at the swap.
	Triggers []Trigger `json:"triggers,omitempty"`
	// Foreign are the foreign keys that the new table gets, and those that the old one loses, where that is done at the swap.
	Foreign []ForeignKey `json:"foreign,omitempty"`
	// Children are the foreign keys of other tables that refer to the source, and to the new table after the swap, where that is done by it.
	Children []Child `json:"children,omitempty"`
	// Kin are the other tables of a family that is swapped together, on MySQL. Their foreign keys and this table's are among Foreign, and not
	// among Children.
	Kin []Name `json:"kin,omitempty"`
	// Ordered says that both tables sort their keys alike, so that a range of one is a range of the other.
	Ordered bool `json:"ordered"`
	// InPlace says that the shadow's columns are columns of the source itself: Shadow has no name then, Log has the keys of rows whose
	// conversion failed, and Key is for persons, and empty where the table has none.
	InPlace bool `json:"in_place,omitempty"`
	// Live says of a pair in place that both columns are written by users for as long as the change is expanded, and Leaning are the
	// old column and what leans on it, as the plan found them; of a pair in place of MySQL and MariaDB that is not live, the whole definition.
	Live    bool     `json:"live,omitempty"`
	Leaning []string `json:"leaning,omitempty"`
	// Aside are the names of the columns that were replaced, after the swap of a change in place.
	Aside []string `json:"aside,omitempty"`
	// Indexes are, of a pair in place of MySQL and MariaDB, those of the second column, and Untouched the columns that an UPDATE of others would change.
	Indexes   []string `json:"indexes,omitempty"`
	Untouched []string `json:"untouched,omitempty"`
	// ByKey says that the copy goes in the order of the key, where it would else go in that of the heap.
	ByKey bool `json:"by_key,omitempty"`
	// SameKey says that the key has the same type on both sides.
	SameKey bool `json:"same_key"`
	// Mirrored says that the capture can also write the shadow's rows, in the user's own transaction and without failing for
	// reasons of its own, so that open snapshots survive the swap.
	Mirrored bool `json:"mirrored,omitempty"`
	// Judge is the pair as which the rows of this one are compared, where it is not this one itself: see plan.Plan.Undo.
	Judge *Pair `json:"judge,omitempty"`
	// Turned says of a pair as which an undo's rows are compared that its log has the keys of the shadow, which are not sorted as the source's are.
	Turned bool `json:"turned,omitempty"`
	// Limit is the size of the key log in bytes from which on the capture writes nothing more. Zero: there is none.
	Limit int64 `json:"limit,omitempty"`
	// Misfits are the keys of rows that the shadow refuses, set aside. Empty where such a row ends the change.
	Misfits Name `json:"misfits,omitzero"`
	// Settings are those of the session that planned the change which conversions depend on: time zone, date style and so
	// on. Rows are always moved and compared under them, whoever resumes the change from wherever.
	Settings map[string]string `json:"settings,omitempty"`
	// Path is the search path under which the user's own expressions are read. Empty where there is none.
	Path string `json:"path,omitempty"`
}

// Mapped is one column of the shadow and where its value comes from.
type Mapped struct {
	Shadow string `json:"shadow"`
	Type   string `json:"type"`             // of the shadow's column
	Source string `json:"source,omitempty"` // the source's column; empty for one that the change adds
	Expr   string `json:"expr,omitempty"`   // the user's USING, or the constant of a column that the change adds
	// Was is, of a live pair, the type of the source's column, and Back the user's expression for its value; empty: the shadow's is assigned.
	Was  string `json:"was,omitempty"`
	Back string `json:"back,omitempty"`
	// Default is, of a live pair, the second column's default, by which an INSERT that does not name it is known; empty: it has none.
	Default string `json:"default,omitempty"`
	// Converted says that the value may change on its way, so a row may fail on it.
	Converted bool   `json:"converted,omitempty"`
	Always    bool   `json:"always,omitempty"` // GENERATED ALWAYS AS IDENTITY: no UPDATE may set it
	Digest    string `json:"digest"`           // how the value is digested to a number: an expression with %s for the value
	Image     string `json:"image,omitempty"`  // the form in which two values are equal only if they are the same; empty: compare digests
}

// Kept is a column that the change adds with a volatile default: it is assigned once a row, kept when the row is copied
// again, and left out of comparisons.
type Kept struct {
	Shadow string `json:"shadow"`
	Expr   string `json:"expr"`
	Must   bool   `json:"must,omitempty"` // it has no default and is NOT NULL: a new row cannot do without a value
}

// Trigger is a trigger of the user's that the new table gets.
type Trigger struct {
	Name    string   `json:"name"`
	StandIn string   `json:"stand_in"` // a trigger that does the same until the other one has its name
	Stand   []string `json:"stand"`    // make the stand-in on the shadow; may run twice
	Make    []string `json:"make"`     // make the trigger on the new table, behind its stand-in
}

// ForeignKey is one that the new table gets, or that the source has.
type ForeignKey struct {
	Name string `json:"name"`
	Add  string `json:"add"` // a clause of ALTER TABLE for the shadow; empty for one that only the source has
	// Fresh says that the source does not have it, and Parent is the other table that it then refers to, quoted, if it does.
	Fresh  bool   `json:"fresh,omitempty"`
	Parent string `json:"parent,omitempty"`
	// Index is the name that the server's own index for the key has, which it may make anew under the key's name. Empty: as it is made.
	Index string `json:"index,omitempty"`
}

// Child is a foreign key of another table that refers to the source.
type Child struct {
	Table Name   `json:"table"`
	Name  string `json:"name"`
	Back  string `json:"back"` // as it is before the swap: a clause of ALTER TABLE
	Add   string `json:"add"`  // as it is after the swap
	// Index is the name that the server's own index for the key has, which it may make anew under the key's name. Empty: as it is made.
	Index string `json:"index,omitempty"`
	// Columns of the child refer to Refers of the new table.
	Columns []string `json:"columns"`
	Refers  []string `json:"refers"`
}

// Key is one column of the key by which rows are found in both tables, in index order.
type Key struct {
	Source     string `json:"source"`
	Shadow     string `json:"shadow"`
	Type       string `json:"type"`
	ShadowType string `json:"shadow_type"`
	// Back is, of a turned pair, the source's value for a key of the shadow's, which stands under the source's name.
	Back      string    `json:"back,omitempty"`
	LogType   string    `json:"log_type"`       // of the key log's column, with its collation
	Expr      string    `json:"expr,omitempty"` // the user's USING for this column
	Ops       Operators `json:"ops"`
	ShadowOps Operators `json:"shadow_ops"`
}

// Operators compare two values of a key column, qualified so that no search path can change their meaning.
type Operators struct {
	Equal string `json:"equal"`
	Above string `json:"above"` // >
	Upto  string `json:"upto"`  // <=
}
