package mysql

import (
	"slices"
	"strings"
)

// widens says that no value of a column can fail to become one of another: by the rules of the types, and only where they are sure. Whether
// it may be NULL is another question.
func widens(a, b Column) bool {
	if a.Type == b.Type && a.Charset == b.Charset {
		return true
	}
	switch from, to := a.kind(), b.kind(); {
	case to == "int":
		return from == "int" && room(a) <= room(b) && (!b.unsigned() || a.unsigned()) && (a.unsigned() == b.unsigned() || room(a) < room(b))
	case to == "double":
		return (from == "int" || from == "float") && !strings.Contains(b.Type, ",") && !b.unsigned()
	case to == "decimal":
		return decimal(a, b)
	case to == "text" && from == "text":
		return within(a, b)
	case to == "text" && from == "int" && !a.zerofill():
		return b.Data == "varchar" && b.Length >= 20 // BIGINT with its sign, or without one
	case to == "bytes" && from == "bytes":
		return b.Data != "binary" && a.Data != "binary" && a.Length <= b.Length
	case (to == "enum" || to == "set") && from == to:
		return a.Charset == b.Charset && subsequence(members(a.Type), members(b.Type))
	case to == "datetime" || to == "time" || to == "timestamp":
		return from == to && a.Fraction <= b.Fraction
	}
	return false
}

// room is how many bits a whole number has.
func room(c Column) int {
	return map[string]int{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}[c.Data]
}

// decimal is widens for a DECIMAL. What is rounded may need one more digit before the point.
func decimal(a, b Column) bool {
	if b.unsigned() && !a.unsigned() {
		return false
	}
	room := b.Precision - b.Scale
	switch a.kind() {
	case "int":
		return room >= map[string]int64{"tinyint": 3, "smallint": 5, "mediumint": 8, "int": 10, "bigint": 20}[a.Data]
	case "decimal":
		before := a.Precision - a.Scale
		return room > before || room == before && b.Scale >= a.Scale
	}
	return false
}

// within is widens for texts. The lengths of CHAR and VARCHAR count characters, those of the others bytes.
func within(a, b Column) bool {
	counted := []string{"char", "varchar"}
	if !slices.Contains([]string{"utf8mb4", a.Charset}, b.Charset) && !(b.Charset == "utf8mb3" && a.Charset == "ascii") {
		return false
	}
	if slices.Contains(counted, a.Data) != slices.Contains(counted, b.Data) {
		return slices.Contains(counted, a.Data) && a.Length*4 <= b.Length
	}
	if !slices.Contains(counted, a.Data) && a.Charset != b.Charset {
		return a.Length*4 <= b.Length
	}
	return a.Length <= b.Length
}
