package plan

// mysqlForms are the actions of ALTER TABLE in MySQL 8.0 to 9.7 and MariaDB 10.6 to 11.8 (manuals, ALTER TABLE). As with
// postgresForms the first one that fits a clause from end to end decides, and what fits none is Unknown: the server is
// asked what it does.
func mysqlForms() []form {
	const constraint = "ADD [CONSTRAINT [IF NOT EXISTS] [<name>]] "
	return []form{
		{constraint + "PRIMARY KEY [IF NOT EXISTS] [USING <any>] <group> [<rest>]", AddConstraint, PrimaryKey},
		{constraint + "UNIQUE [INDEX|KEY] [IF NOT EXISTS] [<index>] [USING <any>] <group> [<rest>]", AddConstraint, Unique},
		{constraint + "FOREIGN KEY [IF NOT EXISTS] [<index>] <group> REFERENCES <table> [<rest>]", AddConstraint, ForeignKey},
		{constraint + "CHECK <group> [<attributes>]", AddConstraint, Check},
		{"ADD [FULLTEXT|SPATIAL|VECTOR] INDEX|KEY [IF NOT EXISTS] [<index>] [USING <any>] <group> [<rest>]", AddIndex, ""},
		{"ADD FULLTEXT|SPATIAL [<index>] <group> [<rest>]", AddIndex, ""},
		{"ADD SYSTEM VERSIONING", AddSystemVersioning, ""},
		{"ADD PERIOD FOR <rest>", AddSystemVersioning, ""},
		{"ADD PARTITION <rest>", MaintainPartition, ""},
		{"ADD [COLUMN] [IF NOT EXISTS] <group>", AddColumns, ""},
		{"ADD [COLUMN] [IF NOT EXISTS] <column> <described>", AddColumn, ""},
		{"DROP PRIMARY KEY", DropPrimaryKey, ""},
		{"DROP INDEX|KEY [IF EXISTS] <index>", DropIndex, ""},
		{"DROP FOREIGN KEY [IF EXISTS] <name>", DropConstraint, ForeignKey},
		{"DROP CHECK <name>", DropConstraint, Check},
		{"DROP CONSTRAINT [IF EXISTS] <name>", DropConstraint, ""},
		{"DROP SYSTEM VERSIONING", DropSystemVersioning, ""},
		{"DROP PERIOD FOR <any>", DropSystemVersioning, ""},
		{"DROP PARTITION <rest>", MaintainPartition, ""},
		{"DROP [COLUMN] [IF EXISTS] <column> [CASCADE|RESTRICT]", DropColumn, ""},
		{"MODIFY [COLUMN] [IF EXISTS] <column> <described>", AlterType, ""},
		{"CHANGE [COLUMN] [IF EXISTS] <column> <new> <described>", ChangeColumn, ""},
		{"RENAME COLUMN [IF EXISTS] <column> TO <new>", RenameColumn, ""},
		{"RENAME INDEX|KEY [IF EXISTS] <index> TO <new>", RenameIndex, ""},
		{"RENAME [TO|AS|=] <table>", RenameTable, ""},
		{"ALTER INDEX|KEY [IF EXISTS] <index> VISIBLE|INVISIBLE|IGNORED", SetIndexVisible, ""},
		{"ALTER INDEX|KEY [IF EXISTS] <index> NOT IGNORED", SetIndexVisible, ""},
		{"ALTER CHECK|CONSTRAINT <name> <attributes>", AlterConstraint, ""},
		{"ALTER [COLUMN] [IF EXISTS] <column> SET DEFAULT <default>", SetDefault, ""},
		{"ALTER [COLUMN] [IF EXISTS] <column> DROP DEFAULT", DropDefault, ""},
		{"ALTER [COLUMN] <column> SET VISIBLE|INVISIBLE", SetVisible, ""},
		{"CONVERT TO CHARACTER SET <rest>", ConvertTo, ""},
		{"CONVERT TO CHARSET <rest>", ConvertTo, ""},
		{"CONVERT TABLE|PARTITION <rest>", MaintainPartition, ""},
		{"ORDER BY <rest>", OrderBy, ""},
		{"PARTITION BY <rest>", PartitionBy, ""},
		{"REMOVE PARTITIONING", RemovePartitioning, ""},
		{"ANALYZE|CHECK|COALESCE|EXCHANGE|OPTIMIZE|REBUILD|REORGANIZE|REPAIR|TRUNCATE PARTITION [<rest>]", MaintainPartition, ""},
		{"DISCARD|IMPORT <rest>", Tablespace, ""},
		{"FORCE", Force, ""},
		{"ALGORITHM [=] <any>", Algorithm, ""},
		{"LOCK [=] <any>", Lock, ""},
		{"[DEFAULT] CHARACTER SET [=] <rest>", SetTableOptions, ""},
		{"[DEFAULT] CHARSET|COLLATE [=] <rest>", SetTableOptions, ""},
		{"AUTOEXTEND_SIZE|AUTO_INCREMENT|AVG_ROW_LENGTH|CHECKSUM|COMMENT|COMPRESSION|CONNECTION|DELAY_KEY_WRITE|ENCRYPTION|ENGINE|ENGINE_ATTRIBUTE|" +
			"INSERT_METHOD|KEY_BLOCK_SIZE|MAX_ROWS|MIN_ROWS|PACK_KEYS|ROW_FORMAT|STATS_AUTO_RECALC|STATS_PERSISTENT|STATS_SAMPLE_PAGES|" +
			"ENCRYPTED|ENCRYPTION_KEY_ID|PAGE_CHECKSUM|PAGE_COMPRESSED|PAGE_COMPRESSION_LEVEL|TRANSACTIONAL [=] <rest>", SetTableOptions, ""},
	}
}

// mysqlClause finds the form that a clause has.
func mysqlClause(r *reader, c *Clause) {
	classify(mysqlForms(), r, c)
}

// described takes a column's type and attributes, as MySQL writes them. A place at the end is left out.
func (r *reader) described(c *Clause) {
	from := r.pos
	c.Type = r.until(func() bool { return r.pos > from && r.attribute() })
	for !r.done() {
		switch {
		case r.accept("NOT NULL"):
			c.Inline.NotNull = true
		case r.accept("PRIMARY"):
			c.Inline.PrimaryKey = true
			r.accept("KEY")
		case r.accept("UNIQUE"):
			c.Inline.Unique = true
			r.accept("KEY")
		case r.accept("KEY"):
			c.Inline.PrimaryKey = true
		case r.accept("CHECK"):
			c.Inline.Check = true
		case r.accept("ON"): // UPDATE CURRENT_TIMESTAMP, or what a foreign key does: neither is a default
			r.skip()
			r.accept("SET")
			r.skip()
		case r.accept("DEFAULT"):
			from := r.pos
			c.Default = r.until(func() bool { return r.pos > from && r.attribute() })
		case r.accept("COLLATE"):
			r.read("<collation>", c)
		case r.accept("REFERENCES"):
			c.References = true
			r.read("<table>", c)
		case r.accept("GENERATED ALWAYS AS"), r.accept("AS"):
			c.Inline.Generated = true
		case r.accept("STORED"), r.accept("PERSISTENT"):
			c.Inline.Stored = true
		case r.accept("NOT ENFORCED"):
			c.NotEnforced = true
		case r.accept("CONSTRAINT"), r.accept("COMMENT"), r.accept("AFTER"):
			r.skip() // a name or a text
		default:
			r.skip()
		}
	}
}

// attribute says that what is at hand begins the next part of a column's definition.
func (r *reader) attribute() bool {
	if c := symbol(r.text, r.tokens[r.pos-1]); c != 0 && !closes(c) {
		return false
	}
	switch r.word(0) {
	case "AFTER", "AS", "AUTO_INCREMENT", "CHECK", "COLLATE", "COLUMN_FORMAT", "COMMENT", "CONSTRAINT", "DEFAULT", "FIRST", "GENERATED", "INVISIBLE",
		"KEY", "NOT", "NULL", "ON", "PRIMARY", "REFERENCES", "STORAGE", "UNIQUE", "VISIBLE", "WITH", "WITHOUT":
		return true
	}
	return false
}
