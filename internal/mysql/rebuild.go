package mysql

import "github.com/changeling-db/changeling/schema"

// Rebuild is the statement that writes a table anew and leaves its definition as it is.
func Rebuild(n schema.Name) string { return "ALTER TABLE " + qualified(n) + " ENGINE=InnoDB" }
