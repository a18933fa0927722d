package changeling_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// myContent is all of a table, each row as text, sorted.
func myContent(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		var row []string
		for _, v := range values {
			if v.Valid {
				row = append(row, fmt.Sprintf("%q", v.String))
			} else {
				row = append(row, "NULL")
			}
		}
		out = append(out, strings.Join(row, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// sameMy fails where two tables have different rows.
func sameMy(t *testing.T, db *sql.DB, got, want string) {
	t.Helper()
	a, b := myContent(t, db, got), myContent(t, db, want)
	if !slices.Equal(a, b) {
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		t.Errorf("%d rows, want %d; the first that differ: %s and %s", len(a), len(b), append(a, "none")[n], append(b, "none")[n])
	}
}

// TestMySQLKeys: rows are walked by keys of every type, under writes of every kind.
func TestMySQLKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, columns, key, values string }{
		{"an enum whose members are not in the order of letters", "k enum('z','m','ä','a''b') NOT NULL", "k, n", "1 + i % 4"},
		{"an enum behind a number", "k enum('z','m','a') NOT NULL", "n, k", "1 + i % 3"},
		{"a set behind a number", "k set('z','m','a') NOT NULL", "n, k", "i % 8"},
		{"bits", "k bit(12) NOT NULL", "k, n", "i"},
		{"all bits", "k bit(64) NOT NULL", "k, n", "18446744073709551615 - i % 7"},
		{"bytes", "k binary(8) NOT NULL", "k, n", "UNHEX(LPAD(HEX(i * 7919 % 4096), 8, '0'))"},
		{"times", "k time(3) NOT NULL", "k, n", "SEC_TO_TIME(i * 7 - 9000)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
				for _, table := range []string{"things", "twin"} {
					mytest.Exec(t, db, `CREATE TABLE `+table+` (`+c.columns+`, n int NOT NULL, v int NOT NULL, PRIMARY KEY (`+c.key+`))`,
						`INSERT INTO `+table+` `+countMy(t, db, 3000)+` `+c.values+`, i, i FROM n`)
				}
				var phase sync.Map
				writes := func(n int) func() {
					return func() {
						if _, done := phase.LoadOrStore(n, true); done {
							return
						}
						for _, table := range []string{"things", "twin"} {
							for _, s := range []string{`UPDATE %s SET v = v + 1 WHERE n %% 10 = %d`, `DELETE FROM %s WHERE n %% 100 = 5 + %d`,
								`INSERT INTO %s SELECT k, n + 10000 * (1 + %[2]d), v FROM %[1]s WHERE n %% 50 = %[2]d`, `UPDATE %s SET n = n + 1000000 WHERE n %% 60 = 30 + %d`} {
								mytest.Exec(t, db, fmt.Sprintf(s, table, n))
							}
						}
					}
				}
				var told story
				config := changeling.Config{DropAfter: changeling.DropNow,
					Events: upon(upon(event.Tee(told.tell, event.Lines(t.Output())), began("copy"), writes(0)), began("cutover"), writes(1))}
				if err := changeling.Apply(t.Context(), db, `ALTER TABLE things MODIFY v bigint NOT NULL`, config); err != nil {
					t.Fatal(err)
				}
				const all = `SELECT k + 0, k, n, v FROM `
				query := strings.Replace(all, "k + 0, k", map[bool]string{true: "k + 0", false: "HEX(k)"}[strings.Contains(c.columns, "enum") || strings.Contains(c.columns, "set") || strings.Contains(c.columns, "bit")], 1)
				sameMy(t, db, query+"things", query+"twin")
			})
		})
	}
}

// TestMySQLKeysRefused: keys by which rows cannot be walked.
func TestMySQLKeysRefused(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		for i, c := range []struct{ columns, says string }{
			{"k float NOT NULL PRIMARY KEY", "no FLOAT or DOUBLE"},
			{"k double NOT NULL PRIMARY KEY", "no FLOAT or DOUBLE"},
			{"k set('a', 'b') NOT NULL PRIMARY KEY", "leads the key"},
			{"k enum('a', '') NOT NULL PRIMARY KEY", "empty text"},
		} {
			mytest.Exec(t, db, fmt.Sprintf(`CREATE TABLE t%d (%s, v int)`, i, c.columns))
			err := changeling.Apply(t.Context(), db, fmt.Sprintf(`ALTER TABLE t%d MODIFY v bigint`, i), changeling.Config{})
			if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want ErrRefused with %q", c.columns, err, c.says)
			}
		}
	})
}

// TestMySQLKeyWithoutATable: keys whose characters nobody can read in the binary log are logged by triggers, and the plan says so, not the copy.
func TestMySQLKeyWithoutATable(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE wide (k varchar(40) CHARACTER SET gbk PRIMARY KEY, v int)`, `INSERT INTO wide VALUES ('中', 1), ('b', 2)`)
		var told story
		config := changeling.Config{Binlog: dsn, DropAfter: changeling.DropNow, Events: upon(told.tell, began("copy"), func() { mytest.Exec(t, db, `UPDATE wide SET v = 7 WHERE k = '中'`) })}
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE wide MODIFY v bigint`, config); err != nil {
			t.Fatal(err)
		}
		if got := myContent(t, db, `SELECT k, v FROM wide`); !slices.Equal(got, []string{`"b" "2"`, `"中" "7"`}) {
			t.Errorf("the table is %v", got)
		}
	})
}
