package mysql

import (
	"strings"

	"github.com/changeling-db/changeling/schema"
)

// Grants are the statements that give an account, written name or name@host, all that a change of a table needs, and no more.
// PROCESS tells of a TRUNCATE and of who holds the table; the REPLICATION rights are for the binary log alone.
func Grants(table schema.Name, account string) []string {
	name, host := account, "%"
	if i := strings.LastIndex(account, "@"); i >= 0 {
		name, host = account[:i], account[i+1:]
	}
	to := " TO " + literal(name) + "@" + literal(host)
	// In a GRANT _ and % of a database's name are wildcards.
	in := quote(strings.NewReplacer(`_`, `\_`, `%`, `\%`).Replace(table.Schema))
	return []string{
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, TRIGGER, LOCK TABLES ON " + in + ".*" + to,
		"GRANT ALL ON `changeling`.*" + to,
		"GRANT ALL ON `changeling\\_%`.*" + to,
		"GRANT SELECT ON `performance_schema`.*" + to,
		"GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.*" + to,
	}
}
