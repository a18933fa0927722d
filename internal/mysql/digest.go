package mysql

import (
	"fmt"
	"slices"
	"strings"
)

// A digest tells values apart by their text, or by their bytes: equality forgets the case of letters, spaces at the end
// and the zeros behind a decimal point. CRC32 is what both servers have and what costs least (MySQL 9.7 has neither MD5
// nor SHA1 in its core); times a number of the column's own, values that change places change the sum.
//
// A number is at most 2^53, so that those of a row, 1017 columns at most, add up within BIGINT UNSIGNED.

// factor is the odd number of a column, below 2^20.
func factor(seed int) uint64 { return uint64(seed)*0x9E3779B1>>7&0xFFFFF | 1 }

// numbered is the digest of a text. NULL has a number that no text has.
func numbered(text string, seed int) string {
	k := factor(seed)
	return fmt.Sprintf("COALESCE(CRC32(%s) * %d, CAST(%d AS UNSIGNED))", text, k, k<<32)
}

// digestText is the text of a stored value of a type that its digest is made of, with %s for the value. It is chosen so
// that equal values of both sides have equal texts, after the conversion that convert gives.
func digestText(from, to Column) (string, bool) {
	switch k := to.kind(); k {
	case "int", "decimal", "bit":
		if k == "bit" || to.zerofill() {
			return "%s + 0", true
		}
		return "%s", true
	case "float", "double":
		return "%s * 1e0", true // FLOAT prints six digits of its own and tells fewer values apart than it holds
	case "timestamp":
		if from.Type == to.Type {
			return "UNIX_TIMESTAMP(%s)", true // an hour of autumn has every local time twice
		}
		return "%s", true
	case "date", "datetime", "time", "year", "bytes":
		return "%s", true
	case "text", "enum", "set":
		if subset(from.Charset) && subset(to.Charset) {
			return "%s", true
		}
		return "CONVERT(%s USING utf8mb4)", true
	case "json", "uuid":
		return "CAST(%s AS CHAR CHARACTER SET utf8mb4)", true
	case "geometry", "vector":
		return "HEX(%s)", true
	}
	return "", false
}

// subset says that texts of a character set have the same bytes in utf8mb4. The empty one is of what is no text.
func subset(charset string) bool {
	return charset == "utf8mb4" || charset == "utf8mb3" || charset == "utf8" || charset == "ascii"
}

// kind is what a type is for conversions: families whose values print alike.
func (c Column) kind() string {
	switch c.Data {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		return "int"
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return "text"
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return "bytes"
	case "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection", "geometrycollection", "geometry":
		return "geometry"
	case "inet4", "inet6", "uuid":
		return "uuid"
	}
	return c.Data
}

// convert is the expression that makes of a source's column what its assignment to the shadow's column stores, as far as
// the digest can see. It is empty where the plain column has the same digest. It is for comparisons alone: rows are copied
// by plain assignment, which is what a native ALTER does. ok is false for a conversion that nobody has tried.
func convert(from, to Column, maria bool) (expr string, ok bool) {
	src := quote(from.Name)
	if from.Type == to.Type && from.Charset == to.Charset {
		return "", true
	}
	a, b := from.kind(), to.kind()
	integer := "CAST(" + src + " AS SIGNED)"
	if to.unsigned() {
		integer = "CAST(" + src + " AS UNSIGNED)"
	}
	switch b {
	case "int", "bit":
		switch a {
		case "int", "bit", "year", "enum", "set":
			if a == "int" && b == "int" && !from.zerofill() {
				return "", true
			}
			return src + " + 0", true
		case "decimal", "float", "double", "text":
			if b == "int" {
				return integer, true
			}
		}
	case "decimal":
		switch a {
		case "int", "bit", "decimal", "float", "double", "text", "year":
			return fmt.Sprintf("CAST(%s AS DECIMAL(%d,%d))", src, to.Precision, to.Scale), true
		}
	case "float", "double":
		if strings.Contains(to.Type, ",") {
			return "", false // FLOAT(7,2) rounds by a rule of its own
		}
		switch a {
		case "int", "decimal", "float", "double", "text", "bit", "year":
			if b == "float" && a != "float" {
				return "CAST(" + src + " AS FLOAT)", true
			}
			return "CAST(" + src + " AS DOUBLE)", true
		}
	case "datetime", "timestamp":
		switch a {
		case "datetime", "timestamp", "date", "text":
			return fmt.Sprintf("CAST(%s AS DATETIME(%d))", src, to.Fraction), true
		}
	case "date":
		switch a {
		case "datetime", "timestamp", "text":
			if !maria {
				src = "CAST(" + src + " AS DATETIME)" // MySQL's assignment rounds to a second before it cuts the day off
			}
			return "CAST(" + src + " AS DATE)", true
		}
	case "time":
		switch a {
		case "time", "datetime", "timestamp", "text":
			return fmt.Sprintf("CAST(%s AS TIME(%d))", src, to.Fraction), true
		}
	case "text":
		return toText(src, a, from, to)
	case "enum":
		// An ALTER of MySQL takes a number for a member that is called so, and an assignment for the place of one (tried).
		if a == "int" && !maria && slices.ContainsFunc(members(to.Type), number.MatchString) {
			return "", false
		}
		return toEnum(src, a, from, to)
	case "set":
		if a == "set" && subsequence(members(from.Type), members(to.Type)) {
			return "", true
		}
	case "bytes":
		return toBytes(src, a, from, to)
	case "json":
		if a == "text" {
			return "CAST(CONVERT(" + src + " USING utf8mb4) AS JSON)", true
		}
	case "geometry":
		return "", a == "geometry" && to.Data == "geometry"
	case "uuid":
		if a == "text" {
			return "CAST(" + src + " AS " + strings.ToUpper(to.Data) + ")", true
		}
	}
	return "", false
}

func toText(src, kind string, from, to Column) (string, bool) {
	text := src
	switch kind {
	case "text", "enum", "set":
	case "json":
		text = "CONVERT(" + src + " USING utf8mb4)"
	case "bytes":
		text = "CONVERT(" + src + " USING " + to.Charset + ")" // bytes are taken as they are
	case "float":
		return "", false // an ALTER prints six digits, and an assignment all of them (tried)
	case "int", "decimal", "double":
		// An ALTER prints the zeros of ZEROFILL and the decimals of DOUBLE(10,2), and an assignment does not (tried).
		return "CAST(" + src + " AS CHAR)", !from.zerofill() && !(kind == "double" && strings.Contains(from.Type, ","))
	case "year", "date", "datetime", "timestamp", "time", "uuid":
		return "CAST(" + src + " AS CHAR)", true
	default:
		return "", false
	}
	if to.Data == "char" {
		return "TRIM(TRAILING ' ' FROM CONVERT(" + text + " USING utf8mb4))", true
	}
	if to.Data == "varchar" && from.Length > to.Length {
		return fmt.Sprintf("LEFT(%s, %d)", text, to.Length), true // spaces beyond the end are cut without an error
	}
	if text == src {
		text = ""
	}
	return text, true
}

func toEnum(src, kind string, from, to Column) (string, bool) {
	names := members(to.Type)
	list := literals(names)
	switch kind {
	case "enum", "text":
		if kind == "enum" && subsequence(members(from.Type), names) {
			return "", true
		}
		// A member is found by the column's collation, without spaces at the end, and stored as it is declared.
		return fmt.Sprintf("ELT(FIELD(TRIM(TRAILING ' ' FROM CONVERT(%s USING %s)) COLLATE %s, %s), %s)", src, to.Charset, to.Collation, list, list), true
	case "int":
		return fmt.Sprintf("ELT(%s, %s)", src, list), true
	}
	return "", false
}

func toBytes(src, kind string, from, to Column) (string, bool) {
	switch kind {
	case "bytes", "text":
	default:
		return "", false
	}
	if to.Data == "binary" {
		return fmt.Sprintf("CAST(%s AS BINARY(%d))", src, to.Length), true
	}
	if kind == "text" {
		return "CAST(" + src + " AS BINARY)", true
	}
	return "", true
}

// members are those of an enum or a set, from COLUMN_TYPE: quotes are doubled there, and nothing else is escaped.
func members(typ string) []string {
	_, list, _ := strings.Cut(typ, "(")
	list = strings.TrimSuffix(list, ")")
	var out []string
	for i := 0; i < len(list); i++ {
		if list[i] != '\'' {
			continue
		}
		var b strings.Builder
		for i++; i < len(list); i++ {
			if list[i] == '\'' {
				if i+1 >= len(list) || list[i+1] != '\'' {
					break
				}
				i++
			}
			b.WriteByte(list[i])
		}
		out = append(out, b.String())
	}
	return out
}

// subsequence says that all of a are in b, in the same order.
func subsequence(a, b []string) bool {
	for len(a) > 0 && len(b) > 0 {
		if a[0] == b[0] {
			a = a[1:]
		}
		b = b[1:]
	}
	return len(a) == 0
}
