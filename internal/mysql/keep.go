package mysql

import "fmt"

// Kept answers the number that Heap had for the source, of what is the old table now: a rename keeps what InnoDB gave it. It is 0 where
// the table is gone, has partitions, or is not shown to this role. The second column is what else is in its database.
func (w Rows) Kept() string {
	view := "innodb_tables"
	if w.Maria {
		view = "innodb_sys_tables"
	}
	return fmt.Sprintf("SELECT COALESCE((SELECT CAST(CRC32(CONCAT(%s, ' ', i.table_id)) AS SIGNED) FROM information_schema.%s i WHERE %s), 0), "+
		"COALESCE((SELECT GROUP_CONCAT(i.table_name SEPARATOR ', ') FROM information_schema.tables i WHERE i.table_schema = %s AND i.table_name <> %s AND i.table_type <> 'TEMPORARY'), '')", // MariaDB 11 lists the session's own
		literal(fileName(w.Pair.Source.Schema)+"/"+fileName(w.Pair.Source.Table)), view, fileOf(w.Pair.Old), literal(w.Pair.Old.Schema), literal(w.Pair.Old.Table))
}
