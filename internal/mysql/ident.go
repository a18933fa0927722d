// Package mysql holds all SQL text for MySQL and MariaDB: what the planner asks, and what moves, compares and swaps rows.
// It decides nothing that is not about one of these servers.
package mysql

import (
	"encoding/hex"
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// quote is an identifier in backticks, which mean the same whether ANSI_QUOTES is set or not (manual, Schema Object Names).
// A NUL byte cannot be part of a name; it is dropped, and the server then does not find the name.
func quote(name string) string {
	return "`" + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), "`", "``") + "`"
}

// qualified is a table's name with its database, both quoted. Without a database it is the name alone.
func qualified(n schema.Name) string {
	if n.Schema == "" {
		return quote(n.Table)
	}
	return quote(n.Schema) + "." + quote(n.Table)
}

// literal is a string constant that means the same under every sql_mode: NO_BACKSLASH_ESCAPES changes what a backslash
// is, so a text with one, or with anything that is not plain to read, is given by its bytes.
func literal(text string) string {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '\\' {
			return "_utf8mb4 X'" + hex.EncodeToString([]byte(text)) + "'"
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// literals are constants in a list.
func literals(texts []string) string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = literal(t)
	}
	return strings.Join(list, ", ")
}
