package mysql

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/changeling-db/changeling/schema"
)

// files is the list of what InnoDB keeps tables and partitions in: the name of each, and the number that it has. A server without PROCESS
// for the role does not show it.
//
// MySQL lists files. Its list of tables, INNODB_TABLES, is not for us: it walks through InnoDB's own structures without holding them, and
// while somebody drops tables with FULLTEXT indexes MySQL 9.7 itself comes down within ten seconds of it (measured: three sessions that
// read it, three that make and drop such tables; TestListsBesideDDL in its long form, `make crash`). The list of files is a query of the data dictionary. It does not have
// tables in the system's tablespace or one of the user's, which share a file.
func files(maria bool) string {
	if maria {
		return "(SELECT name, table_id AS number FROM information_schema.innodb_sys_tables)"
	}
	return "(SELECT SUBSTRING_INDEX(LEFT(path, LENGTH(path) - 4), '/', -2) AS name, space AS number FROM information_schema.innodb_tablespaces_brief)"
}

const numbersOfFiles = "COALESCE(CAST(SUM(CRC32(CONCAT(i.name, ' ', i.number))) AS SIGNED), 0)"

// filesOf says that a row of files is of a table, or of a partition of it. Orders is another table than orders; of partitions some
// versions write #P#.
func filesOf(n schema.Name) string {
	name := fileName(n.Schema) + "/" + fileName(n.Table)
	return fmt.Sprintf("(CAST(LEFT(i.name, %[1]d) AS BINARY) = %[2]s AND (LENGTH(i.name) = %[1]d OR LOWER(SUBSTRING(i.name, %[1]d + 1, 3)) = '#p#'))", len(name), literal(name))
}

// fileOf says that a row of files is of a table that has no partitions.
func fileOf(n schema.Name) string {
	return "CAST(i.name AS BINARY) = " + literal(fileName(n.Schema)+"/"+fileName(n.Table))
}

// fileName is the name of a table or a database as InnoDB lists it, which is that of its file: ASCII letters, digits and underscores
// stand for themselves, about 1,500 letters of other alphabets are two signs behind an @, and all else is @ with four hexadecimal digits
// (manual, Mapping of Identifiers to File Names). What Windows keeps for devices has three more signs, on every system.
func fileName(name string) string {
	var b strings.Builder
	for _, c := range name {
		switch short := letters()[c]; {
		case c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
			b.WriteRune(c)
		case short != "":
			b.WriteString("@" + short)
		default:
			fmt.Fprintf(&b, "@%04x", c)
		}
	}
	if device.MatchString(b.String()) {
		b.WriteString("@@@")
	}
	return b.String()
}

var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[1-9]|lpt[1-9])$`)

// shortened are sixteen letters a line, behind the first one's number: the two signs of each, or two dots. The manual tells the
// ranges and no more, so these are read off a server (TestFileNames asks all of them again).
//
//go:embed letters.txt
var shortened string

var letters = sync.OnceValue(func() map[rune]string {
	out := map[rune]string{}
	for line := range strings.Lines(shortened) {
		list := strings.Fields(line)
		first, err := strconv.ParseUint(list[0], 16, 16)
		if err != nil {
			panic("letters.txt: " + err.Error())
		}
		for i, short := range list[1:] {
			if short != ".." {
				out[rune(first)+rune(i)] = short
			}
		}
	}
	return out
})
