package plan_test

import (
	"testing"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

func TestParseMySQLClause(t *testing.T) {
	t.Parallel()
	const add = plan.AddConstraint
	for clause, want := range map[string]plan.Clause{
		// columns
		"ADD COLUMN c int":                           {Action: plan.AddColumn, Column: "c", Type: "int"},
		"add C int(11) unsigned zerofill AFTER b":    {Action: plan.AddColumn, Column: "C", Type: "int(11) unsigned zerofill"},
		"ADD COLUMN IF NOT EXISTS `a``b` text FIRST": {Action: plan.AddColumn, Column: "a`b", Type: "text", IfExists: true},
		"ADD (a int, b int)":                         {Action: plan.AddColumns},
		"ADD COLUMN (a int, b int)":                  {Action: plan.AddColumns},
		"ADD c enum('a,b','c''d') CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'a,b' COMMENT 'NOT, NULL'": {
			Action: plan.AddColumn, Column: "c", Type: "enum('a,b','c''d') CHARACTER SET latin1", Collate: "latin1_bin", Default: "'a,b'", Inline: plan.Inline{NotNull: true}},
		"ADD c datetime(6) DEFAULT NOW(6) ON UPDATE NOW(6) NOT NULL": {Action: plan.AddColumn, Column: "c", Type: "datetime(6)", Default: "NOW(6)", Inline: plan.Inline{NotNull: true}},
		"ADD c int DEFAULT (a + b) UNIQUE KEY":                       {Action: plan.AddColumn, Column: "c", Type: "int", Default: "(a + b)", Inline: plan.Inline{Unique: true}},
		"ADD id bigint AUTO_INCREMENT PRIMARY KEY FIRST":             {Action: plan.AddColumn, Column: "id", Type: "bigint", Inline: plan.Inline{PrimaryKey: true}},
		"ADD id bigint KEY":                            {Action: plan.AddColumn, Column: "id", Type: "bigint", Inline: plan.Inline{PrimaryKey: true}},
		"ADD c int AS (a + 1) VIRTUAL":                 {Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Generated: true}},
		"ADD c int GENERATED ALWAYS AS (a + 1) STORED": {Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Generated: true, Stored: true}},
		"ADD c int CHECK (c > 0) NOT ENFORCED":         {Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Check: true}, NotEnforced: true},
		"ADD c int REFERENCES a.p (id) ON DELETE SET NULL": {
			Action: plan.AddColumn, Column: "c", Type: "int", References: true, Other: schema.Name{Schema: "a", Table: "p"}},
		"MODIFY c bigint NOT NULL":                  {Action: plan.AlterType, Column: "c", Type: "bigint", Inline: plan.Inline{NotNull: true}},
		"MODIFY COLUMN IF EXISTS c bigint":          {Action: plan.AlterType, Column: "c", Type: "bigint", IfExists: true},
		"CHANGE a b varchar(5)":                     {Action: plan.ChangeColumn, Column: "a", NewName: "b", Type: "varchar(5)"},
		"CHANGE COLUMN `a` `b` decimal(10, 2) NULL": {Action: plan.ChangeColumn, Column: "a", NewName: "b", Type: "decimal(10, 2)"},
		"RENAME COLUMN a TO b":                      {Action: plan.RenameColumn, Column: "a", NewName: "b"},
		"DROP COLUMN c":                             {Action: plan.DropColumn, Column: "c"},
		"DROP c":                                    {Action: plan.DropColumn, Column: "c"},
		"DROP COLUMN IF EXISTS c":                   {Action: plan.DropColumn, Column: "c", IfExists: true},
		"ALTER c SET DEFAULT 5":                     {Action: plan.SetDefault, Column: "c", Default: "5"},
		"ALTER COLUMN c DROP DEFAULT":               {Action: plan.DropDefault, Column: "c"},
		"ALTER COLUMN c SET INVISIBLE":              {Action: plan.SetVisible, Column: "c"},
		"ADD /* a, b */ COLUMN c -- x\n int # , \n": {Action: plan.AddColumn, Column: "c", Type: "int"},

		// indexes and constraints
		"ADD INDEX (a, b(10) DESC) COMMENT 'a'":      {Action: plan.AddIndex},
		"ADD KEY i USING BTREE (a)":                  {Action: plan.AddIndex, Index: "i"},
		"ADD FULLTEXT INDEX f (a) WITH PARSER ngram": {Action: plan.AddIndex, Index: "f"},
		"ADD SPATIAL (p)":                            {Action: plan.AddIndex},
		"ADD UNIQUE (a)":                             {Action: add, Constraint: plan.Unique},
		"ADD UNIQUE KEY u (a, (lower(b)))":           {Action: add, Constraint: plan.Unique, Index: "u"},
		"ADD CONSTRAINT n UNIQUE INDEX u (a)":        {Action: add, Constraint: plan.Unique, Name: "n", Index: "u"},
		"ADD CONSTRAINT UNIQUE (a)":                  {Action: add, Constraint: plan.Unique},
		"ADD PRIMARY KEY (a, b)":                     {Action: add, Constraint: plan.PrimaryKey},
		"ADD CONSTRAINT n CHECK (a > 0) NOT ENFORCED": {
			Action: add, Constraint: plan.Check, Name: "n", NotEnforced: true},
		"ADD FOREIGN KEY (a) REFERENCES p (b) ON DELETE CASCADE": {Action: add, Constraint: plan.ForeignKey, References: true, Other: named("p")},
		"DROP PRIMARY KEY":                  {Action: plan.DropPrimaryKey},
		"DROP INDEX `i`":                    {Action: plan.DropIndex, Index: "i"},
		"DROP KEY i":                        {Action: plan.DropIndex, Index: "i"},
		"DROP FOREIGN KEY f":                {Action: plan.DropConstraint, Constraint: plan.ForeignKey, Name: "f"},
		"DROP CHECK n":                      {Action: plan.DropConstraint, Constraint: plan.Check, Name: "n"},
		"DROP CONSTRAINT n":                 {Action: plan.DropConstraint, Name: "n"},
		"RENAME INDEX a TO b":               {Action: plan.RenameIndex, Index: "a", NewName: "b"},
		"ALTER INDEX i INVISIBLE":           {Action: plan.SetIndexVisible, Index: "i"},
		"ALTER INDEX i NOT IGNORED":         {Action: plan.SetIndexVisible, Index: "i"},
		"ALTER CHECK n NOT ENFORCED":        {Action: plan.AlterConstraint, Name: "n", NotEnforced: true},
		"ALTER CONSTRAINT n ENFORCED":       {Action: plan.AlterConstraint, Name: "n"},
		"DROP PARTITION p0, p1":             {Action: plan.MaintainPartition},
		"ADD PARTITION (PARTITION p)":       {Action: plan.MaintainPartition},
		"TRUNCATE PARTITION ALL":            {Action: plan.MaintainPartition},
		"EXCHANGE PARTITION p WITH TABLE x": {Action: plan.MaintainPartition},

		// the table
		"RENAME TO b":                        {Action: plan.RenameTable, Other: named("b")},
		"RENAME `a`.`b`":                     {Action: plan.RenameTable, Other: schema.Name{Schema: "a", Table: "b"}},
		"RENAME = b":                         {Action: plan.RenameTable, Other: named("b")},
		"ENGINE=InnoDB ROW_FORMAT = DYNAMIC": {Action: plan.SetTableOptions},
		"AUTO_INCREMENT 100":                 {Action: plan.SetTableOptions},
		"COMMENT 'a, b'":                     {Action: plan.SetTableOptions},
		"DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin": {Action: plan.SetTableOptions},
		"CONVERT TO CHARACTER SET utf8mb4":            {Action: plan.ConvertTo},
		"ORDER BY a":                                  {Action: plan.OrderBy},
		"PARTITION BY HASH(a) PARTITIONS 4":           {Action: plan.PartitionBy},
		"REMOVE PARTITIONING":                         {Action: plan.RemovePartitioning},
		"FORCE":                                       {Action: plan.Force},
		"ALGORITHM=INSTANT":                           {Action: plan.Algorithm},
		"ALGORITHM COPY":                              {Action: plan.Algorithm},
		"LOCK = NONE":                                 {Action: plan.Lock},
		"ADD SYSTEM VERSIONING":                       {Action: plan.AddSystemVersioning},
		"DISCARD TABLESPACE":                          {Action: plan.Tablespace},
		"SECONDARY_LOAD":                              {},
		"ENABLE KEYS":                                 {},
		"/*!80000 ADD c int */":                       {},
	} {
		s, err := plan.Parse("ALTER TABLE `a b`.t "+clause, plan.MySQLSyntax())
		if err != nil {
			t.Errorf("Parse(%q): %v", clause, err)
			continue
		}
		if s.Table != (schema.Name{Schema: "a b", Table: "t"}) || len(s.Clauses) == 0 {
			t.Errorf("Parse(%q) = table %v and %d clauses", clause, s.Table, len(s.Clauses))
			continue
		}
		got := s.Clauses[0]
		got.Text, got.Start, got.End = "", 0, 0
		if got != want {
			t.Errorf("Parse(%q)\n got %+v\nwant %+v", clause, got, want)
		}
	}
}

func TestParseMySQLClauses(t *testing.T) {
	t.Parallel()
	s, err := plan.Parse("ALTER TABLE t ADD c enum('a,b', \"c,d\") /* x, y */, # z, \n DROP d, COMMENT='it''s, \\', so', ALGORITHM=INPLACE", plan.MySQLSyntax())
	if err != nil {
		t.Fatal(err)
	}
	var actions []plan.Action
	for _, c := range s.Clauses {
		actions = append(actions, c.Action)
	}
	want := []plan.Action{plan.AddColumn, plan.DropColumn, plan.SetTableOptions, plan.Algorithm}
	if len(actions) != len(want) {
		t.Fatalf("actions %q, want %q", actions, want)
	}
	for i := range want {
		if actions[i] != want[i] {
			t.Errorf("actions %q, want %q", actions, want)
		}
	}
	ansi := plan.MySQLSyntax()
	ansi.QuotedStrings = false
	s, err = plan.Parse(`ALTER TABLE "a"."t" CHANGE "x" "y z" int`, ansi)
	if err != nil || s.Table != (schema.Name{Schema: "a", Table: "t"}) || s.Clauses[0].NewName != "y z" {
		t.Errorf("under ANSI_QUOTES: %+v, %v", s, err)
	}
}
