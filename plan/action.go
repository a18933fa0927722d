package plan

// Action is what a clause of ALTER TABLE does.
type Action string

// The actions. Unknown, the zero value, is passed on as it is.
const (
	Unknown            Action = ""
	AddColumn          Action = "add column"
	DropColumn         Action = "drop column"
	AlterType          Action = "alter type"
	SetDefault         Action = "set default"
	DropDefault        Action = "drop default"
	SetNotNull         Action = "set not null"
	DropNotNull        Action = "drop not null"
	SetExpression      Action = "set expression"
	DropExpression     Action = "drop expression"
	AddIdentity        Action = "add identity"
	SetIdentity        Action = "set identity" // RESTART too
	DropIdentity       Action = "drop identity"
	SetStatistics      Action = "set statistics"
	SetStorage         Action = "set storage"
	SetCompression     Action = "set compression"
	SetOptions         Action = "set options"   // of a column
	ResetOptions       Action = "reset options" // of a column
	AddConstraint      Action = "add constraint"
	DropConstraint     Action = "drop constraint"
	AlterConstraint    Action = "alter constraint"
	ValidateConstraint Action = "validate constraint"
	RenameColumn       Action = "rename column"
	RenameConstraint   Action = "rename constraint"
	RenameTable        Action = "rename table"
	SetSchema          Action = "set schema"
	OwnerTo            Action = "owner to"
	SetTableOptions    Action = "set table options"
	ResetTableOptions  Action = "reset table options"
	SetLogged          Action = "set logged"
	SetUnlogged        Action = "set unlogged"
	SetTablespace      Action = "set tablespace"
	SetAccessMethod    Action = "set access method"
	ClusterOn          Action = "cluster on"
	SetWithoutCluster  Action = "set without cluster"
	ReplicaIdentity    Action = "replica identity"
	EnableTrigger      Action = "enable trigger"
	DisableTrigger     Action = "disable trigger"
	EnableRule         Action = "enable rule"
	DisableRule        Action = "disable rule"
	RowSecurity        Action = "row level security" // enabled, disabled, forced or not
	Inherit            Action = "inherit"
	NoInherit          Action = "no inherit"
	OfType             Action = "of type"
	NotOf              Action = "not of"
	AttachPartition    Action = "attach partition"
	DetachPartition    Action = "detach partition"

	AddColumns           Action = "add columns"   // several in brackets; their names are not taken out
	ChangeColumn         Action = "change column" // name and definition
	AddIndex             Action = "add index"
	DropIndex            Action = "drop index"
	RenameIndex          Action = "rename index"
	SetVisible           Action = "set visible" // of a column
	SetIndexVisible      Action = "set index visible"
	DropPrimaryKey       Action = "drop primary key"
	ConvertTo            Action = "convert to character set"
	OrderBy              Action = "order by"
	PartitionBy          Action = "partition by"
	RemovePartitioning   Action = "remove partitioning"
	MaintainPartition    Action = "maintain partition" // everything that is done to partitions by name
	Tablespace           Action = "tablespace"         // DISCARD and IMPORT
	Force                Action = "force"
	Algorithm            Action = "algorithm"
	Lock                 Action = "lock"
	AddSystemVersioning  Action = "add system versioning" // or a period
	DropSystemVersioning Action = "drop system versioning"
)

// Constraint is the kind of constraint that AddConstraint adds.
type Constraint string

// The kinds of constraints. NoConstraint is the zero value.
const (
	NoConstraint Constraint = ""
	Check        Constraint = "check"
	Unique       Constraint = "unique"
	PrimaryKey   Constraint = "primary key"
	ForeignKey   Constraint = "foreign key"
	Exclude      Constraint = "exclude"
	NotNull      Constraint = "not null"
)
