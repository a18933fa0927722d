package plan

import (
	"slices"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// others reads what a statement is about that is no ALTER TABLE and no CREATE INDEX, as far as a planner has to know whose lock
// it takes. What it does not know stays empty.
func (s *Statement) others(r *reader) {
	first, rest, _ := strings.Cut(s.Verb, " ")
	switch first {
	case "DROP":
		s.drop(r, rest)
	case "ALTER":
		s.Kind = s.kind(r, rest)
		s.IfExists = r.accept("IF EXISTS")
		s.objects(r)
	case "CREATE":
		s.create(r, rest)
	case "COMMENT":
		s.comment(r)
	case "TRUNCATE":
		s.Kind = "TABLE"
		r.accept("TABLE")
		s.objects(r)
	case "REINDEX", "CLUSTER", "REFRESH":
		s.maintenance(r)
	case "GRANT", "REVOKE":
		r.until(func() bool { return r.word(0) == "ON" })
		if r.accept("ON") && (r.accept("TABLE") || !slices.Contains(notTables(), r.word(0))) {
			s.named(r, &s.Tables)
		}
	}
}

// notTables are the words behind GRANT … ON that are no table's name.
func notTables() []string {
	return []string{"ALL", "DATABASE", "DOMAIN", "FOREIGN", "FUNCTION", "LANGUAGE", "LARGE", "PARAMETER", "PROCEDURE", "ROUTINE", "SCHEMA", "SEQUENCE", "TABLESPACE", "TYPE"}
}

// kind is what an ALTER or a DROP is about, where it has two words: FOREIGN TABLE is known by its verb already.
func (s *Statement) kind(r *reader, word string) string {
	for _, second := range []string{"VIEW", "TABLE", "CLASS", "MAPPING", "SEARCH"} {
		if (word == "MATERIALIZED" || word == "FOREIGN" || word == "OPERATOR" || word == "TEXT") && r.accept(second) {
			return word + " " + second
		}
	}
	return word
}

func (s *Statement) drop(r *reader, kind string) {
	s.Kind = s.kind(r, kind)
	s.Concurrently = r.accept("CONCURRENTLY")
	s.IfExists = r.accept("IF EXISTS")
	switch s.Kind {
	case "TRIGGER", "POLICY", "RULE":
		if _, ok := r.name(); ok && r.accept("ON") {
			s.named(r, &s.Tables)
		}
	default:
		s.objects(r)
	}
	r.until(func() bool { return r.word(0) == "CASCADE" })
	s.Cascade = r.accept("CASCADE")
}

func (s *Statement) create(r *reader, kind string) {
	words := strings.Fields(kind)
	if len(words) == 0 {
		return
	}
	s.Kind = words[len(words)-1]
	if s.Kind == "VIEW" && slices.Contains(words, "MATERIALIZED") {
		s.Kind = "MATERIALIZED VIEW"
	}
	if s.Kind == "CONSTRAINT" && r.accept("TRIGGER") {
		s.Kind = "TRIGGER"
	}
	s.IfExists = r.accept("IF NOT EXISTS")
	switch s.Kind {
	case "TRIGGER", "POLICY", "RULE":
		s.on(r)
	case "STATISTICS":
		r.until(func() bool { return r.word(0) == "FROM" })
		if r.accept("FROM") {
			s.named(r, &s.Tables)
		}
	case "TABLE":
		s.named(r, &s.Objects)
		if r.accept("PARTITION OF") {
			s.named(r, &s.Tables)
			return
		}
		for !r.done() { // the tables that its foreign keys lock
			if r.accept("REFERENCES") {
				s.named(r, &s.Tables)
			} else {
				r.pos++
			}
		}
	default:
		s.named(r, &s.Objects)
	}
}

// on reads the table of a trigger, a policy or a rule: ON t, or ON event TO t.
func (s *Statement) on(r *reader) {
	r.until(func() bool { return r.word(0) == "ON" })
	if !r.accept("ON") {
		return
	}
	if s.Kind == "RULE" {
		r.pos++
		if !r.accept("TO") {
			return
		}
	}
	s.named(r, &s.Tables)
}

// comment reads COMMENT ON kind name: the verb has the ON.
func (s *Statement) comment(r *reader) {
	s.Kind = r.word(0)
	r.pos++
	if s.Kind == "MATERIALIZED" || s.Kind == "FOREIGN" {
		s.Kind += " " + r.word(0)
		r.pos++
	}
	switch s.Kind {
	case "CONSTRAINT", "TRIGGER", "POLICY", "RULE":
		s.on(r)
	case "COLUMN":
		var parts []string
		for part, ok := r.name(); ok; part, ok = r.name() {
			parts = append(parts, part)
			if !r.accept(".") {
				break
			}
		}
		if n := len(parts); n == 2 {
			s.Tables = append(s.Tables, schema.Name{Table: parts[0]})
		} else if n >= 3 {
			s.Tables = append(s.Tables, schema.Name{Schema: parts[n-3], Table: parts[n-2]})
		}
	default:
		s.named(r, &s.Objects)
	}
}

// maintenance reads REINDEX, CLUSTER and REFRESH MATERIALIZED VIEW.
func (s *Statement) maintenance(r *reader) {
	if opens(r.symbol()) {
		r.skip()
	}
	r.accept("VERBOSE")
	for _, kind := range []string{"INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM", "MATERIALIZED VIEW"} {
		if s.Verb != "CLUSTER" && r.accept(kind) {
			s.Kind = kind
		}
	}
	s.Concurrently = r.accept("CONCURRENTLY")
	s.objects(r)
}

// objects reads names with commas between them.
func (s *Statement) objects(r *reader) {
	r.accept("ONLY")
	for s.named(r, &s.Objects) {
		r.accept("*")
		if !r.accept(",") {
			return
		}
		r.accept("ONLY")
	}
}

func (s *Statement) named(r *reader, list *[]schema.Name) bool {
	name, _, _, ok := r.qualified()
	if ok {
		*list = append(*list, name)
	}
	return ok
}
