package plan_test

import (
	"fmt"
	"testing"

	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// The name of a table, or of a type, that a clause mentions.
func named(table string) schema.Name { return schema.Name{Table: table} }

func TestParseClause(t *testing.T) {
	t.Parallel()
	const add, check, unique, primary, foreign = plan.AddConstraint, plan.Check, plan.Unique, plan.PrimaryKey, plan.ForeignKey
	for _, test := range []struct {
		rule   string
		clause string
		want   plan.Clause
	}{
		// ADD COLUMN
		{"a column has a name and a type", "ADD COLUMN c int", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int"}},
		{"COLUMN may be left out, case means nothing", "aDd C Int", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "Int"}},
		{"IF NOT EXISTS", "ADD IF NOT EXISTS c int", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", IfExists: true}},
		{"if alone is a name", "ADD if int", plan.Clause{Action: plan.AddColumn, Column: "if", Type: "int"}},
		{"a quoted name keeps its case and may be a keyword", `ADD "Check" int`, plan.Clause{Action: plan.AddColumn, Column: "Check", Type: "int"}},
		{"exclude before a type is a column", "ADD exclude text", plan.Clause{Action: plan.AddColumn, Column: "exclude", Type: "text"}},
		{"key and index are columns in PostgreSQL", "ADD key text", plan.Clause{Action: plan.AddColumn, Column: "key", Type: "text"}},
		{"commas in a type's arguments", "ADD c numeric(10, 2) NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "numeric(10, 2)", Inline: plan.Inline{NotNull: true}}},
		{"a type of several words", "ADD c timestamp (3) with time zone NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "timestamp (3) with time zone"}},
		{"an array type", "ADD c int[3][] NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int[3][]", Inline: plan.Inline{NotNull: true}}},
		{"an array by the word ARRAY", "ADD c app.kind ARRAY[4]", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "app.kind ARRAY[4]"}},
		{"a keyword after a dot is a name", "ADD c app.check CHECK (c > 0)", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "app.check", Inline: plan.Inline{Check: true}}},
		{"a type may be called like a word that may follow it", "ADD c storage STORAGE PLAIN", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "storage"}},
		{"a quoted type", `ADD c "Mood, bad"."NOT NULL" NOT NULL`, plan.Clause{Action: plan.AddColumn, Column: "c", Type: `"Mood, bad"."NOT NULL"`, Inline: plan.Inline{NotNull: true}}},
		{"STORAGE DEFAULT is no default", "ADD c text STORAGE DEFAULT COMPRESSION lz4", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "text"}},
		{"COLLATE", `ADD c text COLLATE pg_catalog."C" DEFAULT ''`, plan.Clause{Action: plan.AddColumn, Column: "c", Type: "text", Collate: `pg_catalog."C"`, Default: "''"}},
		{"a default ends before the next part", "ADD c int DEFAULT 5 + f(1, 2) CONSTRAINT n NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Default: "5 + f(1, 2)", Inline: plan.Inline{NotNull: true}}},
		{"DEFAULT NULL NOT NULL", "ADD c int DEFAULT NULL NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Default: "NULL", Inline: plan.Inline{NotNull: true}}},
		{"a cast in a default goes on after ::", "ADD c text DEFAULT NULL::character varying(3) UNIQUE", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "text", Default: "NULL::character varying(3)", Inline: plan.Inline{Unique: true}}},
		{"CASE … END is one operand", "ADD c int DEFAULT CASE WHEN true THEN NULL ELSE CASE 1 WHEN 1 THEN 2 END END NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Default: "CASE WHEN true THEN NULL ELSE CASE 1 WHEN 1 THEN 2 END END", Inline: plan.Inline{NotNull: true}}},
		{"IS NOT DISTINCT FROM NULL is part of a default", "ADD c bool DEFAULT 1 IS NOT DISTINCT FROM NULL NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "bool", Default: "1 IS NOT DISTINCT FROM NULL", Inline: plan.Inline{NotNull: true}}},
		{"an operator takes NULL", "ADD c bool DEFAULT 1 = NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "bool", Default: "1 = NULL"}},
		{"strings with commas and keywords", "ADD c text DEFAULT $$a, b NOT NULL$$ || E'\\', ADD'", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "text", Default: "$$a, b NOT NULL$$ || E'\\', ADD'"}},
		{"an array constructor", "ADD c int[] DEFAULT ARRAY[1, 2]", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int[]", Default: "ARRAY[1, 2]"}},
		{"inline keys", "ADD c int PRIMARY KEY UNIQUE NULLS NOT DISTINCT", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{PrimaryKey: true, Unique: true}}},
		{"an inline foreign key", "ADD c int REFERENCES app.p (a) ON UPDATE CASCADE ON DELETE SET NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", References: true, Other: schema.Name{Schema: "app", Table: "p"}}},
		{"SET DEFAULT of a foreign key is no default", "ADD c int REFERENCES p ON DELETE SET DEFAULT (c) NOT DEFERRABLE", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", References: true, Other: named("p")}},
		{"NOT ENFORCED inline", "ADD c int REFERENCES p NOT ENFORCED", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", References: true, Other: named("p"), NotEnforced: true}},
		{"an identity", "ADD c int GENERATED BY DEFAULT AS IDENTITY (START 5 CACHE 1)", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Identity: true}}},
		{"a stored generated column", "ADD c int GENERATED ALWAYS AS (a + b) STORED NOT NULL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Generated: true, Stored: true, NotNull: true}}},
		{"a virtual generated column", "ADD c int GENERATED ALWAYS AS (a + b) VIRTUAL", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int", Inline: plan.Inline{Generated: true}}},
		{"comments and line ends between words", "ADD -- a, b\n /* , */ COLUMN\tc\r\nint /* x */ [ ]", plan.Clause{Action: plan.AddColumn, Column: "c", Type: "int /* x */ [ ]"}},

		// ADD constraint
		{"a named check", "ADD CONSTRAINT n CHECK (a > 0 AND b IN (1, 2))", plan.Clause{Action: add, Constraint: check, Name: "n"}},
		{"a check without a name", "add check (a > 0) no inherit not valid", plan.Clause{Action: add, Constraint: check, NotValid: true}},
		{"NOT VALID in the expression does not count", "ADD CHECK (a = 'NOT VALID' OR (NOT valid))", plan.Clause{Action: add, Constraint: check}},
		{"a check that is not enforced", "ADD CHECK (a > 0) NOT ENFORCED", plan.Clause{Action: add, Constraint: check, NotEnforced: true}},
		{"a unique constraint", `ADD CONSTRAINT "N" UNIQUE NULLS NOT DISTINCT (a, b) INCLUDE (c) WITH (fillfactor = 70) USING INDEX TABLESPACE ts`, plan.Clause{Action: add, Constraint: unique, Name: "N"}},
		{"unique by an index", "ADD CONSTRAINT n UNIQUE USING INDEX I DEFERRABLE", plan.Clause{Action: add, Constraint: unique, Name: "n", Index: "i"}},
		{"a primary key", "ADD PRIMARY KEY (a, b)", plan.Clause{Action: add, Constraint: primary}},
		{"a primary key by an index", "ADD PRIMARY KEY USING INDEX i", plan.Clause{Action: add, Constraint: primary, Index: "i"}},
		{"a foreign key", "ADD CONSTRAINT f FOREIGN KEY (a, b) REFERENCES app.p (c, d) MATCH FULL ON DELETE SET NULL (a, b) NOT VALID", plan.Clause{Action: add, Constraint: foreign, Name: "f", References: true, NotValid: true, Other: schema.Name{Schema: "app", Table: "p"}}},
		{"an exclusion constraint", "ADD EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (NOT cancelled)", plan.Clause{Action: add, Constraint: plan.Exclude}},
		{"an exclusion constraint without a method", "ADD EXCLUDE (a WITH =)", plan.Clause{Action: add, Constraint: plan.Exclude}},
		{"a not-null constraint", "ADD CONSTRAINT n NOT NULL c NOT VALID", plan.Clause{Action: add, Constraint: plan.NotNull, Name: "n", Column: "c", NotValid: true}},
		{"a not-null constraint without a name", "ADD NOT NULL c", plan.Clause{Action: add, Constraint: plan.NotNull, Column: "c"}},
		{"a constraint of a kind that nobody knows yet", "ADD CONSTRAINT n ASSERT (a > 0)", plan.Clause{}},

		// DROP
		{"DROP COLUMN", "DROP COLUMN c", plan.Clause{Action: plan.DropColumn, Column: "c"}},
		{"DROP COLUMN with everything", "DROP IF EXISTS c CASCADE", plan.Clause{Action: plan.DropColumn, Column: "c", IfExists: true, Cascade: true}},
		{"RESTRICT is not CASCADE", "DROP c RESTRICT", plan.Clause{Action: plan.DropColumn, Column: "c"}},
		{"a column called if", "DROP COLUMN if", plan.Clause{Action: plan.DropColumn, Column: "if"}},
		{"DROP CONSTRAINT", "DROP CONSTRAINT IF EXISTS n CASCADE", plan.Clause{Action: plan.DropConstraint, Name: "n", IfExists: true, Cascade: true}},

		// ALTER COLUMN
		{"a type", "ALTER COLUMN c TYPE numeric(10,2)", plan.Clause{Action: plan.AlterType, Column: "c", Type: "numeric(10,2)"}},
		{"SET DATA TYPE", "ALTER c SET DATA TYPE double precision", plan.Clause{Action: plan.AlterType, Column: "c", Type: "double precision"}},
		{"a column called type", "ALTER type TYPE type", plan.Clause{Action: plan.AlterType, Column: "type", Type: "type"}},
		{"a column called set", "ALTER set SET NOT NULL", plan.Clause{Action: plan.SetNotNull, Column: "set"}},
		{"a type with a collation and an expression", `ALTER c TYPE varchar(5) COLLATE "de_DE" USING left(c, 5)`, plan.Clause{Action: plan.AlterType, Column: "c", Type: "varchar(5)", Collate: `"de_DE"`, Using: "left(c, 5)"}},
		{"USING goes to the end", "ALTER c TYPE int USING (c::text /* , */ || '0', 1)::int COLLATE x", plan.Clause{Action: plan.AlterType, Column: "c", Type: "int", Using: "(c::text /* , */ || '0', 1)::int COLLATE x"}},
		{"a default of any shape", "ALTER c SET DEFAULT NULL IS NOT NULL AND NOT EXISTS (SELECT 1, 2)", plan.Clause{Action: plan.SetDefault, Column: "c", Default: "NULL IS NOT NULL AND NOT EXISTS (SELECT 1, 2)"}},
		{"DROP DEFAULT", "ALTER c DROP DEFAULT", plan.Clause{Action: plan.DropDefault, Column: "c"}},
		{"DROP NOT NULL", "ALTER c DROP NOT NULL", plan.Clause{Action: plan.DropNotNull, Column: "c"}},
		{"SET EXPRESSION", "ALTER c SET EXPRESSION AS (a + b)", plan.Clause{Action: plan.SetExpression, Column: "c"}},
		{"DROP EXPRESSION", "ALTER c DROP EXPRESSION IF EXISTS", plan.Clause{Action: plan.DropExpression, Column: "c", IfExists: true}},
		{"ADD GENERATED", "ALTER c ADD GENERATED ALWAYS AS IDENTITY (START WITH 5)", plan.Clause{Action: plan.AddIdentity, Column: "c"}},
		{"SET GENERATED", "ALTER c SET GENERATED BY DEFAULT SET START 5 RESTART", plan.Clause{Action: plan.SetIdentity, Column: "c"}},
		{"SET of a sequence's option", "ALTER c SET NO MAXVALUE", plan.Clause{Action: plan.SetIdentity, Column: "c"}},
		{"RESTART", "ALTER c RESTART WITH 7", plan.Clause{Action: plan.SetIdentity, Column: "c"}},
		{"DROP IDENTITY", "ALTER c DROP IDENTITY", plan.Clause{Action: plan.DropIdentity, Column: "c"}},
		{"SET STATISTICS", "ALTER c SET STATISTICS -1", plan.Clause{Action: plan.SetStatistics, Column: "c"}},
		{"SET STORAGE", "ALTER c SET STORAGE DEFAULT", plan.Clause{Action: plan.SetStorage, Column: "c"}},
		{"SET COMPRESSION", "ALTER c SET COMPRESSION lz4", plan.Clause{Action: plan.SetCompression, Column: "c"}},
		{"options of a column", "ALTER c SET (n_distinct = -0.5, n_distinct_inherited = 1)", plan.Clause{Action: plan.SetOptions, Column: "c"}},
		{"options of a column, taken back", "ALTER c RESET (n_distinct)", plan.Clause{Action: plan.ResetOptions, Column: "c"}},
		{"more after a known end makes a clause unknown", "ALTER c SET NOT NULL NOT VALID", plan.Clause{}},

		// The rest
		{"ALTER CONSTRAINT", "ALTER CONSTRAINT n NOT DEFERRABLE", plan.Clause{Action: plan.AlterConstraint, Name: "n"}},
		{"ALTER CONSTRAINT NOT ENFORCED", "ALTER CONSTRAINT n NOT ENFORCED", plan.Clause{Action: plan.AlterConstraint, Name: "n", NotEnforced: true}},
		{"VALIDATE CONSTRAINT", "VALIDATE CONSTRAINT N", plan.Clause{Action: plan.ValidateConstraint, Name: "n"}},
		{"RENAME a column", "RENAME COLUMN a TO B", plan.Clause{Action: plan.RenameColumn, Column: "a", NewName: "b"}},
		{"RENAME a column without the word", `RENAME "to" TO "To"`, plan.Clause{Action: plan.RenameColumn, Column: "to", NewName: "To"}},
		{"RENAME a constraint", "RENAME CONSTRAINT a TO b", plan.Clause{Action: plan.RenameConstraint, Name: "a", NewName: "b"}},
		{"RENAME the table", "RENAME TO T2", plan.Clause{Action: plan.RenameTable, NewName: "t2"}},
		{"SET SCHEMA", "SET SCHEMA App", plan.Clause{Action: plan.SetSchema, NewName: "app"}},
		{"OWNER TO", "OWNER TO bob", plan.Clause{Action: plan.OwnerTo, NewName: "bob"}},
		{"table options", "SET (fillfactor = 70, toast.autovacuum_enabled = off)", plan.Clause{Action: plan.SetTableOptions}},
		{"table options, taken back", "RESET (fillfactor)", plan.Clause{Action: plan.ResetTableOptions}},
		{"SET LOGGED", "SET LOGGED", plan.Clause{Action: plan.SetLogged}},
		{"SET UNLOGGED", "SET UNLOGGED", plan.Clause{Action: plan.SetUnlogged}},
		{"SET TABLESPACE", "SET TABLESPACE fast", plan.Clause{Action: plan.SetTablespace, NewName: "fast"}},
		{"SET ACCESS METHOD", "SET ACCESS METHOD heap", plan.Clause{Action: plan.SetAccessMethod, NewName: "heap"}},
		{"SET ACCESS METHOD DEFAULT", "SET ACCESS METHOD DEFAULT", plan.Clause{Action: plan.SetAccessMethod}},
		{"CLUSTER ON", "CLUSTER ON i", plan.Clause{Action: plan.ClusterOn, Index: "i"}},
		{"SET WITHOUT CLUSTER", "SET WITHOUT CLUSTER", plan.Clause{Action: plan.SetWithoutCluster}},
		{"REPLICA IDENTITY", "REPLICA IDENTITY FULL", plan.Clause{Action: plan.ReplicaIdentity}},
		{"REPLICA IDENTITY by an index", "REPLICA IDENTITY USING INDEX i", plan.Clause{Action: plan.ReplicaIdentity, Index: "i"}},
		{"all triggers have no name", "DISABLE TRIGGER USER", plan.Clause{Action: plan.DisableTrigger}},
		{"one trigger", "ENABLE ALWAYS TRIGGER a", plan.Clause{Action: plan.EnableTrigger, Name: "a"}},
		{"a rule", "ENABLE REPLICA RULE a", plan.Clause{Action: plan.EnableRule, Name: "a"}},
		{"a rule off", "DISABLE RULE a", plan.Clause{Action: plan.DisableRule, Name: "a"}},
		{"row security", "ENABLE ROW LEVEL SECURITY", plan.Clause{Action: plan.RowSecurity}},
		{"row security not forced", "NO FORCE ROW LEVEL SECURITY", plan.Clause{Action: plan.RowSecurity}},
		{"INHERIT", "INHERIT app.p", plan.Clause{Action: plan.Inherit, Other: schema.Name{Schema: "app", Table: "p"}}},
		{"NO INHERIT", "NO INHERIT p", plan.Clause{Action: plan.NoInherit, Other: named("p")}},
		{"OF", "OF kind", plan.Clause{Action: plan.OfType, Other: named("kind")}},
		{"NOT OF", "NOT OF", plan.Clause{Action: plan.NotOf}},
		{"ATTACH PARTITION", "ATTACH PARTITION p FOR VALUES FROM (1, 2) TO (3, 4)", plan.Clause{Action: plan.AttachPartition, Other: named("p")}},
		{"DETACH PARTITION", "DETACH PARTITION p CONCURRENTLY", plan.Clause{Action: plan.DetachPartition, Other: named("p"), Concurrently: true}},
		{"DETACH PARTITION, at the second try", "DETACH PARTITION p FINALIZE", plan.Clause{Action: plan.DetachPartition, Other: named("p")}},
		{"a clause that nobody knows yet", "MERGE PARTITIONS (a, b) INTO c", plan.Clause{}},
		{"a string is no name", "DROP COLUMN 'c'", plan.Clause{}},
	} {
		// The clause stands between two others, so that its end is found by the lexer and not by the end of the text.
		text := "ALTER TABLE t DROP a, " + test.clause + " , DROP z"
		s, err := plan.Parse(text, plan.PostgresSyntax())
		if err != nil || len(s.Clauses) != 3 {
			t.Errorf("%s: Parse(%q) = %d clauses, %v, want 3", test.rule, text, len(s.Clauses), err)
			continue
		}
		got := s.Clauses[1]
		if got.Text != test.clause || s.Text[got.Start:got.End] != test.clause {
			t.Errorf("%s: Text = %q, [Start:End] = %q, want %q", test.rule, got.Text, s.Text[got.Start:got.End], test.clause)
		}
		got.Text, got.Start, got.End = "", 0, 0
		if got != test.want {
			t.Errorf("%s: Parse(%q)\n got %+v\nwant %+v", test.rule, test.clause, got, test.want)
		}
	}
}

func TestParseStatement(t *testing.T) {
	t.Parallel()
	postgres, mysql := plan.PostgresSyntax(), plan.MySQLSyntax()
	long := "äöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöüäöü" // 36 letters of two bytes
	for _, test := range []struct {
		rule     string
		syntax   plan.Syntax
		text     string
		verb     string
		table    schema.Name
		clauses  int
		retarget string // to X
	}{
		{"a plain name folds to lower case", postgres, "alter table Orders add c int;", "ALTER TABLE", named("orders"), 1, "alter table X add c int"},
		{"only ASCII letters fold", postgres, "ALTER TABLE TÄBLE ADD c int", "ALTER TABLE", named("tÄble"), 1, "ALTER TABLE X ADD c int"},
		{"a quoted name stays", postgres, `ALTER TABLE "App"."Or""d.ers" ADD c int`, "ALTER TABLE", schema.Name{Schema: "App", Table: `Or"d.ers`}, 1, "ALTER TABLE X ADD c int"},
		{"a name may have white space and comments around its dot", postgres, "ALTER TABLE app /* . */ .\n t ADD c int", "ALTER TABLE", schema.Name{Schema: "app", Table: "t"}, 1, "ALTER TABLE X ADD c int"},
		{"the database's name is left out", postgres, "ALTER TABLE db.app.t ADD c int", "ALTER TABLE", schema.Name{Schema: "app", Table: "t"}, 1, "ALTER TABLE X ADD c int"},
		{"a keyword is a name after a dot", postgres, "ALTER TABLE app.check ADD c int", "ALTER TABLE", schema.Name{Schema: "app", Table: "check"}, 1, "ALTER TABLE X ADD c int"},
		{"unicode escapes in a name", postgres, `ALTER TABLE U&"d\0061t\+000061\\\D83D\DE00" ADD c int`, "ALTER TABLE", named(`data\😀`), 1, "ALTER TABLE X ADD c int"},
		{"unicode escapes with another character", postgres, `ALTER TABLE U&"d!0061t\" UESCAPE '!' ADD c int`, "ALTER TABLE", named(`dat\`), 1, "ALTER TABLE X ADD c int"},
		{"an escape that is not valid stays", postgres, `ALTER TABLE U&"d\00" ADD c int`, "ALTER TABLE", named(`d\00`), 1, "ALTER TABLE X ADD c int"},
		{"a long name is cut at 63 bytes, between letters", postgres, "ALTER TABLE " + long + " ADD c int", "ALTER TABLE", named(long[:62]), 1, "ALTER TABLE X ADD c int"},
		{"IF EXISTS and ONLY stay", postgres, "ALTER TABLE IF EXISTS ONLY t ADD c int", "ALTER TABLE", named("t"), 1, "ALTER TABLE IF EXISTS ONLY X ADD c int"},
		{"ONLY may have brackets", postgres, "ALTER TABLE ONLY (app.t) ADD c int", "ALTER TABLE", schema.Name{Schema: "app", Table: "t"}, 1, "ALTER TABLE ONLY (X) ADD c int"},
		{"a star stays", postgres, "ALTER TABLE t* ADD c int", "ALTER TABLE", named("t"), 1, "ALTER TABLE X* ADD c int"},
		{"quotes do not grow together", postgres, `ALTER TABLE t"c"`, "ALTER TABLE", named("t"), 1, `ALTER TABLE X"c"`},
		{"words do not grow together", postgres, `ALTER TABLE"t"ADD c int`, "ALTER TABLE", named("t"), 1, "ALTER TABLE X ADD c int"},
		{"a table may be called if", postgres, "ALTER TABLE if ADD c int", "ALTER TABLE", named("if"), 1, "ALTER TABLE X ADD c int"},
		{"comments around a statement are left out", postgres, "/* a; */ ALTER -- b;\nTABLE t /* c */ ADD c int ; -- d", "ALTER TABLE", named("t"), 1, "ALTER -- b;\nTABLE X /* c */ ADD c int"},
		{"other mentions of the table stay", postgres, "ALTER TABLE t ADD CHECK (t.a > 0), ADD FOREIGN KEY (p) REFERENCES t (id)", "ALTER TABLE", named("t"), 2, "ALTER TABLE X ADD CHECK (t.a > 0), ADD FOREIGN KEY (p) REFERENCES t (id)"},
		{"an empty clause is a clause", postgres, "ALTER TABLE t ,ADD c int , ,", "ALTER TABLE", named("t"), 4, "ALTER TABLE X ,ADD c int , ,"},
		{"no clause at all", postgres, "ALTER TABLE t", "ALTER TABLE", named("t"), 0, "ALTER TABLE X"},
		{"all tables are none", postgres, "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b", "ALTER TABLE ALL", schema.Name{}, 0, "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b"},
		{"a table without a name", postgres, "ALTER TABLE 'a' ADD b int, ADD c int", "ALTER TABLE", schema.Name{}, 0, "ALTER TABLE 'a' ADD b int, ADD c int"},

		{"CREATE INDEX", postgres, "CREATE INDEX i ON app.t USING btree (a, b)", "CREATE INDEX", schema.Name{Schema: "app", Table: "t"}, 0, "CREATE INDEX i ON X USING btree (a, b)"},
		{"CREATE INDEX with everything", postgres, "create unique index concurrently if not exists i on only T(a)", "CREATE UNIQUE INDEX", named("t"), 0, "create unique index concurrently if not exists i on only X(a)"},
		{"CREATE INDEX without a name", postgres, "CREATE INDEX ON t (a)", "CREATE INDEX", named("t"), 0, "CREATE INDEX ON X (a)"},

		{"DROP TABLE is not taken apart", postgres, "DROP TABLE a, b", "DROP TABLE", schema.Name{}, 0, "DROP TABLE a, b"},
		{"modifiers belong to the verb", postgres, "CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW", schema.Name{}, 0, "CREATE OR REPLACE VIEW v AS SELECT 1"},
		{"an index is no table", postgres, "ALTER INDEX i RENAME TO j", "ALTER INDEX", schema.Name{}, 0, "ALTER INDEX i RENAME TO j"},
		{"what is not DDL has a verb of one word", postgres, "select Orders", "SELECT", schema.Name{}, 0, "select Orders"},
		{"what begins with no word has no verb", postgres, "(SELECT 1)", "", schema.Name{}, 0, "(SELECT 1)"},
		{"keywords do not fold by Unicode", postgres, "ALTER TABLE ıf EXISTS", "ALTER TABLE", named("ıf"), 1, "ALTER TABLE X EXISTS"},

		{"MySQL names keep their case", mysql, "ALTER TABLE `App` . Orders ADD INDEX (a, b), LOCK=NONE", "ALTER TABLE", schema.Name{Schema: "App", Table: "Orders"}, 2, "ALTER TABLE X ADD INDEX (a, b), LOCK=NONE"},
		{"MySQL strings and comments with commas", mysql, "ALTER TABLE `a``b` ADD c int COMMENT 'a\\', b', # ,\nADD d int /*!80023 , INVISIBLE */", "ALTER TABLE", named("a`b"), 2, "ALTER TABLE X ADD c int COMMENT 'a\\', b', # ,\nADD d int /*!80023 , INVISIBLE */"},
		{"an enum's values", mysql, "ALTER TABLE t MODIFY c ENUM('a','b,c') NOT NULL", "ALTER TABLE", named("t"), 1, "ALTER TABLE X MODIFY c ENUM('a','b,c') NOT NULL"},
		{"MySQL has no ONLY", mysql, "ALTER TABLE only ADD c int", "ALTER TABLE", named("only"), 1, "ALTER TABLE X ADD c int"},
		{"a MySQL name that begins with a digit", mysql, "ALTER TABLE db.2024_t ADD c int", "ALTER TABLE", schema.Name{Schema: "db", Table: "2024_t"}, 1, "ALTER TABLE X ADD c int"},
		{"a MySQL index may have its type before ON", mysql, "CREATE INDEX i USING BTREE ON t (a)", "CREATE INDEX", named("t"), 0, "CREATE INDEX i USING BTREE ON X (a)"},
	} {
		s, err := plan.Parse(test.text, test.syntax)
		if err != nil || s.Verb != test.verb || s.Table != test.table || len(s.Clauses) != test.clauses {
			t.Errorf("%s: Parse(%q) = verb %q, table %q, %d clauses, %v, want %q, %q, %d", test.rule, test.text,
				s.Verb, s.Table, len(s.Clauses), err, test.verb, test.table, test.clauses)
		}
		if got := s.Retarget("X"); got != test.retarget {
			t.Errorf("%s: Retarget of %q\n got %q\nwant %q", test.rule, test.text, got, test.retarget)
		}
	}
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]plan.Statement{
		"ALTER TABLE t ADD c int":                           {},
		"ALTER TABLE IF EXISTS t ADD c int":                 {IfExists: true},
		"ALTER TABLE only t ADD c int":                      {Only: true},
		"ALTER TABLE IF EXISTS ONLY(t) ADD c int":           {IfExists: true, Only: true},
		"CREATE INDEX I ON t (a)":                           {Index: "i"},
		"CREATE INDEX CONCURRENTLY ON ONLY t (a)":           {Concurrently: true, Only: true},
		`CREATE INDEX IF NOT EXISTS "I" ON t (a)`:           {Index: "I", IfExists: true},
		"CREATE UNIQUE INDEX CONCURRENTLY if ON t (\"on\")": {Index: "if", Concurrently: true},
	} {
		got, err := plan.Parse(text, plan.PostgresSyntax())
		if err != nil || got.Index != want.Index || got.IfExists != want.IfExists || got.Only != want.Only || got.Concurrently != want.Concurrently {
			t.Errorf("Parse(%q) = index %q, if exists %v, only %v, concurrently %v, %v", text, got.Index, got.IfExists, got.Only, got.Concurrently, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "the statement is empty",
		" ; -- ALTER TABLE t":     "the statement is empty",
		"SELECT 1; SELECT 2; a ;": "expected one statement, found 3",
		"ALTER TABLE \"t":         `line 1, column 13: the quoted name that begins here has no end, expected "`,
	} {
		_, err := plan.Parse(text, plan.PostgresSyntax())
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%q) error = %v, want %q", text, err, want)
		}
	}
}

func ExampleParse() {
	s, _ := plan.Parse("ALTER TABLE app.Orders ALTER amount TYPE numeric(12,2) USING round(amount, 2), DROP note;", plan.PostgresSyntax())
	fmt.Println(s.Verb, s.Table)
	for _, c := range s.Clauses {
		fmt.Println(c.Action, c.Column, c.Start, c.End)
	}
	fmt.Println(s.Retarget(`"changeling_7"."orders"`))
	// Output:
	// ALTER TABLE app.orders
	// alter type amount 23 77
	// drop column note 79 88
	// ALTER TABLE "changeling_7"."orders" ALTER amount TYPE numeric(12,2) USING round(amount, 2), DROP note
}

func ExampleSplit() {
	statements, _ := plan.Split("ALTER TABLE a ADD b text DEFAULT ';'; -- and then\nDROP TABLE c;", plan.PostgresSyntax())
	for _, s := range statements {
		fmt.Println(s)
	}
	// Output:
	// ALTER TABLE a ADD b text DEFAULT ';'
	// DROP TABLE c
}
