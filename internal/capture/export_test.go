package capture

import "github.com/changeling-db/changeling/schema"

// Effect is what a statement means for a table, as a word.
func Effect(table schema.Name, fold bool, database, text string) string {
	effect, id := statements{table, fold}.effect(database, text)
	word := [...]string{"nothing", "begin", "commit", "control", "xa commit", "xa rollback", "truncated", "altered", "written"}[effect]
	if effect == xaCommit || effect == xaBack {
		word += " " + id
	}
	return word
}

// CompareFiles compares names of log files.
func CompareFiles(a, b string) int { return compareFiles(a, b) }
