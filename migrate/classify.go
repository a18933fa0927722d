package migrate

import (
	"regexp"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
	"github.com/changeling-db/changeling/internal/mysql"
	"github.com/changeling-db/changeling/plan"
	"github.com/changeling-db/changeling/schema"
)

// class says how a statement may run.
type class int

const (
	inside  class = iota // in a transaction, with its record
	loose                // alone: the server refuses it in a transaction, or it ends the transaction
	setting              // alone, and again on each new connection: it sets what later statements depend on
)

// parsed is a statement that was looked at.
type parsed struct {
	Statement
	class class
	words string // in upper case, one space apart, from the beginning
	verb  string
	table schema.Name // of ALTER TABLE, CREATE TABLE, CREATE and DROP INDEX, as far as it is said
	index string      // of CREATE INDEX
}

var (
	// What PostgreSQL 14 to 18 refuse in a transaction block (PreventInTransactionBlock).
	aloneOnPostgres = regexp.MustCompile(`^(VACUUM|CHECKPOINT|ALTER SYSTEM|(CREATE|DROP) (DATABASE|TABLESPACE)|ALTER DATABASE \S+ SET TABLESPACE|` +
		`(CREATE|DROP) (UNIQUE )?INDEX CONCURRENTLY|REINDEX .*CONCURRENTLY|REINDEX (\( .*\) )?(DATABASE|SYSTEM|SCHEMA)|` +
		`ALTER TABLE .* DETACH PARTITION .* CONCURRENTLY|CLUSTER$|(CREATE|DROP|ALTER) SUBSCRIPTION|COMMIT PREPARED|ROLLBACK PREPARED)`)
	// What leaves a transaction of MySQL and MariaDB open (manual, Statements That Cause an Implicit Commit).
	insideOnMySQL = regexp.MustCompile(`^(INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH|VALUES|TABLE|DO|LOAD DATA|LOAD XML)\b`)
	settings      = regexp.MustCompile(`^(SET (SESSION |LOCAL |@@SESSION ?\. ?)?|USE |RESET |SELECT (PG_CATALOG ?\. ?)?SET_CONFIG ?\()`)
	notSettings   = regexp.MustCompile(`^SET (TRANSACTION|LOCAL|GLOBAL|PERSIST|CONSTRAINTS|PASSWORD|@@GLOBAL|@@PERSIST)\b`)
	createTable   = regexp.MustCompile(`^CREATE (GLOBAL |LOCAL |OR REPLACE )*(TEMP |TEMPORARY |UNLOGGED )?TABLE (IF NOT EXISTS )?(\S+(?: \. \S+)?)`)
	dropIndex     = regexp.MustCompile(`^DROP INDEX (CONCURRENTLY )?(IF EXISTS )?(\S+(?: \. \S+)?)`)
	losesData     = regexp.MustCompile(`^(DROP (TABLE|SCHEMA|DATABASE|MATERIALIZED VIEW)|TRUNCATE|DELETE)\b`)
)

// look takes a statement apart as far as the runner needs it.
func (sv server) look(s Statement) parsed {
	p := parsed{Statement: s}
	plain := normal(s.SQL, sv.syntax)
	p.words = strings.TrimSpace(strings.ToUpper(plain))
	if st, err := plan.Parse(s.SQL, sv.syntax); err == nil {
		p.verb, p.table, p.index = st.Verb, st.Table, st.Index
	}
	if m := createTable.FindStringSubmatchIndex(p.words); m != nil {
		p.verb, p.table = "CREATE TABLE", sv.name(plain[m[8]:m[9]])
	}
	switch {
	case settings.MatchString(p.words) && !notSettings.MatchString(p.words):
		p.class = setting
	case sv.mysql && !insideOnMySQL.MatchString(p.words), !sv.mysql && aloneOnPostgres.MatchString(p.words):
		p.class = loose
	}
	return p
}

// name reads a table's name out of words with spaces between them.
func (sv server) name(words string) schema.Name {
	s, err := plan.Parse("ALTER TABLE "+words+" ADD x int", sv.syntax)
	if err != nil {
		return schema.Name{}
	}
	return s.Table
}

// reshapes says that a statement may rewrite, scan or lock a table that is there.
func (p parsed) reshapes() bool {
	switch p.verb {
	case "ALTER TABLE", "CREATE INDEX", "CREATE UNIQUE INDEX":
		return p.table.Table != ""
	}
	return false
}

// losing are the statements of a script after which data are gone.
func (sv server) losing(s *Script) (out []Statement) {
	for _, st := range s.Statements {
		p := sv.look(st)
		drops := losesData.MatchString(p.words)
		if parsed, err := plan.Parse(st.SQL, sv.syntax); err == nil {
			for _, c := range parsed.Clauses {
				drops = drops || c.Action == plan.DropColumn
			}
		}
		if drops {
			out = append(out, st)
		}
	}
	return out
}

// concurrently is a CREATE INDEX that lets others write while it builds (P70, NR6).
func (sv server) concurrently(s Statement) Statement {
	if sv.mysql {
		s.SQL += " ALGORITHM=INPLACE LOCK=NONE"
		return s
	}
	for i, first := 0, true; i < len(s.SQL); {
		t, err := plan.Next(s.SQL, i, sv.syntax)
		if err != nil {
			return s
		}
		if t.Kind == plan.TokenWord && strings.EqualFold(s.SQL[t.Start:t.End], "INDEX") && !first {
			s.SQL = s.SQL[:t.End] + " CONCURRENTLY" + s.SQL[t.End:]
			return s
		}
		first = first && t.Kind != plan.TokenWord
		i = t.End
	}
	return s
}

// quoted is a table's name in quotes.
func (sv server) quoted(n schema.Name) string {
	if sv.mysql {
		return mysql.Quoted(n)
	}
	return ident.Qualified(n.Schema, n.Table)
}
