// Package ident quotes names and literals for SQL text. Nothing else in the project builds a name into a statement.
package ident

import "strings"

// Quote is a PostgreSQL identifier in double quotes. It is always quoted, so that no keyword list can be out of date.
// A NUL byte cannot be part of a name; it is dropped, and the server then does not find the name.
func Quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// Qualified is a name with its schema, both quoted. Without a schema it is the name alone.
func Qualified(schema, name string) string {
	if schema == "" {
		return Quote(name)
	}
	return Quote(schema) + "." + Quote(name)
}

// List quotes names and joins them with commas.
func List(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// Literal is a PostgreSQL string constant. It is right for both settings of standard_conforming_strings.
func Literal(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if strings.Contains(s, `\`) {
		return ` E'` + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}

// Dollar is a body between dollar signs, with a tag that does not occur in it: names in it may hold anything.
func Dollar(body string) string {
	tag := "$changeling$"
	for strings.Contains(body, tag) {
		tag = "$" + strings.Trim(tag, "$") + "_$"
	}
	return tag + body + tag
}
