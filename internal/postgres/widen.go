package postgres

import (
	"slices"
	"strconv"
	"strings"
)

// digits are the most that a whole number has, and signed the most characters.
var digits = map[string]int{"smallint": 5, "integer": 10, "bigint": 19}

// plain are types whose every value has a text that nothing refuses.
var plain = []string{"smallint", "integer", "bigint", "numeric", "real", "double precision", "boolean", "uuid", "date", "text", "character varying", "character",
	"timestamp without time zone", "timestamp with time zone", "time without time zone", "interval", "json", "jsonb", "inet", "cidr", "macaddr"}

// widens says that no value of a column can fail to become one of another: by the rules of the types, and only where they are sure.
func widens(a, b Column) bool {
	from, had := modified(a.Type)
	to, has := modified(b.Type)
	if from == to && slices.Equal(had, has) {
		return true
	}
	whole, number := digits[from], []string{"real", "double precision"}
	switch to {
	case "smallint", "integer", "bigint":
		return whole > 0 && whole <= digits[to]
	case "real", "double precision":
		return whole > 0 || from == "real" && to == number[1]
	case "numeric":
		return roomy(whole, from, had, has)
	case "text", "character varying":
		if a.Base != "enum" && !slices.Contains(plain, from) {
			return false
		}
		if len(has) == 0 {
			return true
		}
		switch {
		case (from == "character varying" || from == "character") && len(had) == 1:
			return had[0] <= has[0]
		case whole > 0:
			return whole+1 <= has[0] // with a sign
		case from == "uuid":
			return has[0] >= 36
		}
	case "character":
		return (from == "character varying" || from == "character") && len(had) == 1 && len(has) == 1 && had[0] <= has[0]
	}
	return false
}

// keeps says that each value of a column stays what it is as one of another, which is wider: none is rounded.
func keeps(a, b Column) bool {
	_, had := modified(a.Type)
	_, has := modified(b.Type)
	return widens(a, b) && (len(had) < 2 || len(has) < 2 || had[1] <= has[1])
}

// roomy is widens for a NUMERIC with so many digits, of which so many stand behind the point. What is rounded may need one more before it.
func roomy(whole int, from string, had, has []int) bool {
	if len(has) == 0 {
		return whole > 0 || from == "numeric"
	}
	if len(has) != 2 {
		return false
	}
	room := has[0] - has[1]
	if whole > 0 {
		return room >= whole
	}
	if from != "numeric" || len(had) != 2 {
		return false
	}
	before := had[0] - had[1]
	return room > before || room == before && has[1] >= had[1]
}

// modified takes a type's name and its numbers apart.
func modified(typ string) (name string, modifiers []int) {
	open := strings.IndexByte(typ, '(')
	if open < 0 {
		return typ, nil
	}
	inner, rest, ok := strings.Cut(typ[open+1:], ")")
	if !ok {
		return typ, nil
	}
	for _, text := range strings.Split(inner, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return typ, nil
		}
		modifiers = append(modifiers, n)
	}
	return typ[:open] + rest, modifiers
}

// spelled are other words for types.
var spelled = map[string][]string{"smallint": {"int2"}, "integer": {"int", "int4"}, "bigint": {"int8"}, "numeric": {"decimal"}, "double precision": {"float8"}, "real": {"float4"}, "character varying": {"varchar"}}

// casts says that a USING is no more than a cast of the column to its new type, which is what happens without it.
func casts(using string, from Column, to string) bool {
	text := strings.ToLower(strings.NewReplacer(`"`, "", "(", "", ")", "").Replace(using))
	column, typ, ok := strings.Cut(text, "::")
	typ = strings.TrimPrefix(strings.TrimSpace(typ), "pg_catalog.")
	return ok && strings.TrimSpace(column) == strings.ToLower(from.Name) && (typ == to || slices.Contains(spelled[to], typ))
}
