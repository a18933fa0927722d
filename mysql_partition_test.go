package changeling_test

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestMySQLPartitions: a partitioned table is changed as any other, and what others do to single partitions, which fires no
// trigger, is seen.
func TestMySQLPartitions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, ddl string
		meanwhile []string
		refused   bool
	}{
		{"nobody does anything", `ALTER TABLE %s MODIFY v bigint NOT NULL`, []string{`UPDATE %s SET v = 7 WHERE id % 9 = 0`}, false},
		{"a partition is truncated", `ALTER TABLE %s MODIFY v bigint NOT NULL`, []string{`ALTER TABLE %s TRUNCATE PARTITION low`, `INSERT INTO %s VALUES (5, 55)`}, false},
		{"a partition is exchanged", `ALTER TABLE %s MODIFY v bigint NOT NULL`, []string{`DROP TABLE IF EXISTS single`, `CREATE TABLE single LIKE %s`, `ALTER TABLE single REMOVE PARTITIONING`,
			`INSERT INTO single VALUES (3, 33)`, `ALTER TABLE %s EXCHANGE PARTITION low WITH TABLE single`}, false},
		{"a partition is dropped", `ALTER TABLE %s MODIFY v bigint NOT NULL`, []string{`ALTER TABLE %s DROP PARTITION low`}, true},
		{"a partition is truncated, and the binary log tells", `ALTER TABLE %s MODIFY v bigint NOT NULL`, []string{`ALTER TABLE %s TRUNCATE PARTITION low`, `INSERT INTO %s VALUES (5, 55)`}, false},
		{"partitions come", `ALTER TABLE %s PARTITION BY HASH (id) PARTITIONS 3`, nil, false},
		{"partitions go", `ALTER TABLE %s REMOVE PARTITIONING`, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
				in := func(text, table string) string { return strings.ReplaceAll(text, "%s", table) }
				for _, table := range []string{"big-things", "twin"} { // InnoDB has another name for the first one
					mytest.Exec(t, db, in("CREATE TABLE `%s` (id int PRIMARY KEY, v int NOT NULL) PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (1000), PARTITION high VALUES LESS THAN MAXVALUE)", table),
						in("INSERT INTO `%s` ", table)+countMy(t, db, 2000)+" i, i FROM n")
				}
				both := func(texts ...string) {
					for _, text := range texts {
						for _, table := range []string{"`big-things`", "twin"} {
							mytest.Exec(t, db, in(text, table))
						}
					}
				}
				var once sync.Once
				config := changeling.Config{DropAfter: changeling.DropNow, Events: upon(event.Lines(t.Output()), began("cutover"), func() { // all rows are compared by then
					once.Do(func() {
						for _, table := range []string{"`big-things`", "twin"} {
							for _, text := range c.meanwhile {
								mytest.Exec(t, db, in(text, table))
							}
						}
					})
				})}
				if strings.HasSuffix(c.name, "the binary log tells") {
					config.Binlog = dsn
				}
				err := changeling.Apply(t.Context(), db, in(c.ddl, "`big-things`"), config)
				if c.refused {
					if !errors.Is(err, changeling.ErrRefused) || !strings.Contains(err.Error(), "altered by somebody") {
						t.Errorf("Apply = %v, want ErrRefused", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				mytest.Exec(t, db, in(c.ddl, "twin"))
				both(`INSERT INTO %s VALUES (900000, 1)`)
				if got, want := myDefinition(t, db, "`big-things`"), myDefinition(t, db, "twin"); strings.Replace(got, "`big-things`", "`t`", 1) != want {
					t.Errorf("the table is\n%s\nafter a native ALTER it is\n%s", got, want)
				}
				if got, want := myContent(t, db, "SELECT * FROM `big-things`"), myContent(t, db, "SELECT * FROM twin"); !slices.Equal(got, want) {
					t.Errorf("%d rows, want %d", len(got), len(want))
				}
			})
		})
	}
}
