package postgres

import "strings"

// Relation is a table as the catalogue describes it: everything that a twin needs to look the same.
// Definitions are the server's own text, made under search_path = pg_catalog, so that every name in them is qualified.
type Relation struct {
	Version      int          `json:"version"` // of the server, as server_version_num
	OID          uint32       `json:"oid"`
	Schema       string       `json:"schema"`
	Name         string       `json:"name"`
	Kind         string       `json:"kind"`                // relkind
	Partition    string       `json:"partition,omitempty"` // by what it is partitioned: RANGE (day)
	Persistence  string       `json:"persistence"`         // p, u or t
	Owner        string       `json:"owner"`
	Tablespace   string       `json:"tablespace"` // empty: the database's default
	Access       string       `json:"access"`     // access method
	Options      []string     `json:"options"`
	ToastOptions []string     `json:"toast_options"`
	Identity     string       `json:"identity"` // replica identity: d, n, f, i
	Security     bool         `json:"security"` // row level security, enabled or forced
	Typed        bool         `json:"typed"`    // OF type
	Parents      []string     `json:"parents"`
	Children     []string     `json:"children"`
	Comment      *string      `json:"comment"`
	Grants       []Grant      `json:"grants"`
	Withheld     []string     `json:"withheld"`   // privileges that the owner took from himself
	ArrayType    string       `json:"array_type"` // name of the type of arrays of rows
	Pages        int64        `json:"pages"`
	Rows         int64        `json:"rows"`  // estimate
	Bytes        int64        `json:"bytes"` // with indexes and TOAST
	FileNode     int64        `json:"filenode"`
	Columns      []Column     `json:"columns"`
	Indexes      []Index      `json:"indexes"`
	Constraints  []Constraint `json:"constraints"`
	References   []Constraint `json:"references"` // foreign keys of other tables that point here
	Statistics   []Statistics `json:"statistics"`
	Sequences    []Sequence   `json:"sequences"`
	Triggers     []Trigger    `json:"triggers,omitempty"` // of the user
	Leaves       []string     `json:"leaves,omitempty"`   // of a partitioned table: what its partitions are and have, a line each
	Strangers    []string     `json:"strangers"`          // what hangs on the table and is not one of the above

	Secured      bool          `json:"secured,omitempty"` // row level security is enabled
	Forced       bool          `json:"forced,omitempty"`  // and forced
	Bypass       bool          `json:"-"`                 // the owner, and who asks, pass it by all the same
	Policies     []Policy      `json:"policies,omitempty"`
	Views        []View        `json:"views,omitempty"`        // that read it
	Publications []Publication `json:"publications,omitempty"` // that it is in
	Clones       []Clone       `json:"clones,omitempty"`       // of a partition: its table's triggers

	together bool // partitions, or the table that has them, which go together
}

// Column is one live column. Num is the attribute number, which a rename keeps and a drop leaves unused.
type Column struct {
	Num         int      `json:"num"`
	Name        string   `json:"name"`
	Type        string   `json:"type"`      // with its modifier, qualified
	Base        string   `json:"base"`      // name of the type below all domains, or "enum"
	Plain       string   `json:"plain"`     // the base type below all domains, with the column's collation
	Collation   string   `json:"collation"` // qualified; empty where the type's own applies
	Collates    string   `json:"collates"`  // the collation that applies, as an identity
	NotNull     bool     `json:"not_null"`
	NotNullName string   `json:"not_null_name"` // PostgreSQL 18: the constraint's name
	NotNullDef  string   `json:"not_null_def"`
	NotNullNote *string  `json:"not_null_note"` // and its comment
	Default     *string  `json:"default"`
	Generated   string   `json:"generated"` // s, v or empty
	Identity    string   `json:"identity"`  // a, d or empty
	Storage     string   `json:"storage"`   // empty where the type's own applies
	Compression string   `json:"compression"`
	Target      *int     `json:"target"`
	Options     []string `json:"options"`
	Comment     *string  `json:"comment"`
	Grants      []Grant  `json:"grants"`
}

// Grant is one privilege in an access list. Grantee is empty for PUBLIC.
type Grant struct {
	Grantor   string `json:"grantor"`
	Grantee   string `json:"grantee"`
	Privilege string `json:"privilege"`
	Option    bool   `json:"option"`
}

// Index is an index of the table.
type Index struct {
	OID        uint32      `json:"oid"`
	Name       string      `json:"name"`
	Method     string      `json:"method"` // access method
	Head       string      `json:"head"`   // how Def begins: CREATE [UNIQUE] INDEX name ON table
	Def        string      `json:"def"`
	Tablespace string      `json:"tablespace"`
	Parameters []string    `json:"parameters"` // storage parameters
	Unique     bool        `json:"unique"`
	Primary    bool        `json:"primary"`
	Valid      bool        `json:"valid"`
	Immediate  bool        `json:"immediate"`
	Partial    bool        `json:"partial"`
	Clustered  bool        `json:"clustered"`
	Replica    bool        `json:"replica"` // the replica identity
	Bytes      int64       `json:"bytes"`
	FileNode   int64       `json:"filenode"`
	Keys       []IndexKey  `json:"keys"`
	Targets    map[int]int `json:"targets"`          // statistics targets by column of the index
	Parent     uint32      `json:"parent,omitempty"` // the index of the partitioned table that it belongs to
	Comment    *string     `json:"comment"`
}

// IndexKey is one key column of an index. Num is zero for an expression.
type IndexKey struct {
	Num     int    `json:"num"`
	Desc    bool   `json:"desc"`
	Equal   string `json:"equal"` // operators as OPERATOR(schema.name)
	Above   string `json:"above"`
	Upto    string `json:"upto"`
	Default bool   `json:"default"` // the operator class and the collation are the column's own
}

// Constraint is a constraint of the table, or a foreign key of another table that points to it.
type Constraint struct {
	OID       uint32   `json:"oid"`
	Name      string   `json:"name"`
	Type      string   `json:"type"` // p, u, x, c, f, n, t
	Def       string   `json:"def"`
	Validated bool     `json:"validated"`
	Deferred  bool     `json:"deferred"`
	Deferable bool     `json:"deferrable"`
	Index     uint32   `json:"index"`
	Inherited bool     `json:"inherited"`
	Period    bool     `json:"period"` // WITHOUT OVERLAPS, PERIOD
	Schema    string   `json:"schema"` // the table that has it
	Table     string   `json:"table"`
	TableOID  uint32   `json:"table_oid"`
	TableKind string   `json:"table_kind"`
	Unlogged  bool     `json:"unlogged"`  // the table that has it is
	From      []string `json:"from"`      // columns of a foreign key
	Types     []string `json:"types"`     // of these, with their collation
	Refers    []string `json:"refers"`    // and those that they refer to
	ToTypes   []string `json:"to_types"`  // of these, with their collation
	Equals    []string `json:"equals"`    // operators between what is referred to and what refers
	ToSchema  string   `json:"to_schema"` // the table that a foreign key points to
	ToTable   string   `json:"to_table"`
	ToOID     uint32   `json:"to_oid"`
	ToKind    string   `json:"to_kind"`
	ToLogged  bool     `json:"to_logged"`
	Comment   *string  `json:"comment"`
}

// Statistics is an extended statistics object.
type Statistics struct {
	OID     uint32  `json:"oid"`
	Schema  string  `json:"schema"`
	Name    string  `json:"name"`
	Def     string  `json:"def"`
	Target  *int    `json:"target"`
	Owner   string  `json:"owner"`
	Comment *string `json:"comment"`
}

// Sequence is a sequence that belongs to a column: an identity's own, or one OWNED BY it.
type Sequence struct {
	OID       uint32  `json:"oid"`
	Schema    string  `json:"schema"`
	Name      string  `json:"name"`
	Column    string  `json:"column"`
	Internal  bool    `json:"internal"` // of an identity
	Type      string  `json:"type"`
	Start     int64   `json:"start"`
	Increment int64   `json:"increment"`
	Min       int64   `json:"min"`
	Max       int64   `json:"max"`
	Cache     int64   `json:"cache"`
	Cycle     bool    `json:"cycle"`
	Unlogged  bool    `json:"unlogged"`
	Users     int     `json:"users"` // objects of others that use it
	Comment   *string `json:"comment"`
	Grants    []Grant `json:"grants"`
}

// mayBeNull says that rows with NULL may be in the column. A NOT NULL that is NOT VALID holds for new rows alone.
func (c *Column) mayBeNull() bool { return !c.NotNull || c.notNullPending() }

func (c *Column) notNullPending() bool { return strings.HasSuffix(c.NotNullDef, "NOT VALID") }

func (r *Relation) column(num int) *Column {
	for i := range r.Columns {
		if r.Columns[i].Num == num {
			return &r.Columns[i]
		}
	}
	return nil
}

func (r *Relation) columnNamed(name string) *Column {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return &r.Columns[i]
		}
	}
	return nil
}

func (r *Relation) index(oid uint32) *Index {
	for i := range r.Indexes {
		if r.Indexes[i].OID == oid {
			return &r.Indexes[i]
		}
	}
	return nil
}

// backing is the constraint that an index belongs to, or nil.
func (r *Relation) backing(index uint32) *Constraint {
	for i, c := range r.Constraints {
		if c.Index == index && (c.Type == "p" || c.Type == "u" || c.Type == "x") {
			return &r.Constraints[i]
		}
	}
	return nil
}
