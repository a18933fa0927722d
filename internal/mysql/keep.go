package mysql

import "fmt"

// Kept answers the number that Heap had for the source, of what is the old table now: a rename keeps what InnoDB gave it. It is 0 where
// the table is gone, has partitions, or is not shown to this role. The second column is what else is in its database.
func (w Rows) Kept() string {
	return fmt.Sprintf("SELECT COALESCE((SELECT CAST(CRC32(CONCAT(%s, ' ', i.number)) AS SIGNED) FROM %s i WHERE %s), 0), "+
		"COALESCE((SELECT GROUP_CONCAT(i.table_name SEPARATOR ', ') FROM information_schema.tables i WHERE i.table_schema = %s AND i.table_name <> %s AND i.table_type <> 'TEMPORARY'), '')", // MariaDB 11 lists the session's own
		literal(fileName(w.Pair.Source.Schema)+"/"+fileName(w.Pair.Source.Table)), files(w.Maria), fileOf(w.Pair.Old), literal(w.Pair.Old.Schema), literal(w.Pair.Old.Table))
}
