package mysql

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/schema"
)

// TestFileNames: the names that InnoDB gives to tables are those that are looked for, of all letters that are written short, of
// letters that are not, and of devices; in a database with such a name.
func TestFileNames(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Open(t, mytest.Database(t, version))
		var letter []rune
		for c := range letters() {
			letter = append(letter, c)
		}
		letter = append(letter, []rune("ÿ×ÆǄǅªſKﬀßİıẞ表あ한€—‘’`'\"\\/.-+ $#%@[]{}~\u00a0\u0345\u0600\u2000\uffef")...)
		slices.Sort(letter)
		names := []string{"con", "PRN", "aux", "nul", "com1", "COM9", "com0", "lpt1", "lpt9", "clock$", "con1", "üaux", "#sql", "a#p#b"}
		for group := range slices.Chunk(letter, 62) {
			names = append(names, "n"+string(group)+"n")
		}
		in := "d" + string(letter[:40]) + "d"
		mytest.Exec(t, db, "CREATE DATABASE "+quote(in))
		t.Cleanup(func() {
			if _, err := db.Exec("DROP DATABASE " + quote(in)); err != nil {
				t.Error(err)
			}
		})
		list := files(strings.HasPrefix(version, "mariadb")) + " i"
		for _, name := range names {
			mytest.Exec(t, db, "CREATE TABLE "+quote(in)+"."+quote(name)+" (a int)")
			var got string
			if err := db.QueryRow("SELECT name FROM " + list + " WHERE name = " + literal(fileName(in)+"/"+fileName(name))).Scan(&got); err != nil {
				if err := db.QueryRow("SELECT COALESCE(GROUP_CONCAT(name), 'none') FROM " + list + " WHERE name LIKE 'd%n'").Scan(&got); err != nil {
					t.Fatal(err)
				}
				t.Errorf("%q (%d letters) in %q should be %s/%s: %v; there are %s", name, utf8.RuneCountInString(name), in, fileName(in), fileName(name), err, got)
			}
			mytest.Exec(t, db, "DROP TABLE "+quote(in)+"."+quote(name))
		}
		if !strings.HasPrefix(version, "mariadb") {
			return // MySQL does not convert to a file's name; MariaDB does, so that no letter goes unasked there
		}
		rows, err := db.Query(`SELECT seq, CONVERT(CAST(CONVERT(CONVERT(CAST(UNHEX(LPAD(HEX(seq), 4, '0')) AS BINARY) USING ucs2) USING filename) AS BINARY) USING utf8mb4) FROM seq_1_to_65535 WHERE seq NOT BETWEEN 55296 AND 57343`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		asked := 0
		for rows.Next() {
			var c int
			var file sql.NullString
			if err := rows.Scan(&c, &file); err != nil {
				t.Fatal(err)
			}
			if asked++; file.String != fileName(string(rune(c))) {
				t.Errorf("%s of U+%04X, want %s", fileName(string(rune(c))), c, file.String)
			}
		}
		if err := rows.Err(); err != nil || asked != 65535-2048 {
			t.Error(fmt.Errorf("%d letters: %w", asked, err))
		}
	})
}

// TestHeapOfOneTable: what tells of a TRUNCATE is of the table and its partitions, and of no other one whose name differs by case.
func TestHeapOfOneTable(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Open(t, mytest.Database(t, version))
		var in string
		if err := db.QueryRow(`SELECT DATABASE()`).Scan(&in); err != nil {
			t.Fatal(err)
		}
		for _, names := range [][2]string{{"orders", "Orders"}, {"über", "Über"}, {"x", "x#q#x"}} {
			for _, partitioned := range []bool{false, true} {
				more := ""
				if partitioned {
					more = " PARTITION BY HASH (a) PARTITIONS 2"
				}
				for _, name := range names {
					mytest.Exec(t, db, "CREATE TABLE "+quote(name)+" (a int)"+more)
				}
				heap := func(name string) (number int64) {
					t.Helper()
					w := Rows{Pair: schema.Pair{Source: schema.Name{Schema: in, Table: name}}, Maria: strings.HasPrefix(version, "mariadb")}
					if err := db.QueryRow(w.Heap()).Scan(&number); err != nil {
						t.Fatal(err)
					}
					return number
				}
				before, other := heap(names[0]), heap(names[1])
				if before == other {
					t.Errorf("%v, partitioned %v: both have the number %d", names, partitioned, before)
				}
				mytest.Exec(t, db, "TRUNCATE "+quote(names[1]))
				if heap(names[0]) != before || heap(names[1]) == other {
					t.Errorf("%v, partitioned %v: a TRUNCATE of the second changed the number of the first from %d to %d, that of the second from %d to %d", names, partitioned, before, heap(names[0]), other, heap(names[1]))
				}
				mytest.Exec(t, db, "DROP TABLE "+quote(names[0])+", "+quote(names[1]))
			}
		}
	})
}
