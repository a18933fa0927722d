package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// everythingMy is a database, <1>, with all that can have a name.
var everythingMy = []string{
	`CREATE DATABASE <1>`,
	`CREATE TABLE <1>.<2> (<3> int PRIMARY KEY)`,
	`INSERT INTO <1>.<2> VALUES (1), (2), (3)`,
	`CREATE TABLE <1>.<4> (<5> bigint unsigned NOT NULL AUTO_INCREMENT, <6> varchar(40) NOT NULL, <7> int NOT NULL DEFAULT 3 COMMENT 'it''s %s "of" hers; -- /*', <8> int,
  <9> varchar(60) AS (CONCAT(<6>, 'x')) STORED, <10> enum('a', 'b''"c', '%s') NOT NULL DEFAULT 'b''"c', <11> int DEFAULT 5,
  PRIMARY KEY (<6>, <5>), KEY <12> (<5>), UNIQUE KEY <13> (<7>, <5>), KEY <14> (<8>))`,
	`INSERT INTO <1>.<4> (<6>, <7>, <8>, <10>) VALUES ('one', 1, 1, 'a'), ('two ''" \\ %s', 2, 2, '%s'), ('three', 3, NULL, 'a'), ('four', 4, 3, 'a'), ('', 5, 1, 'a')`,
}

// carriedMy are what else the new table gets: triggers go with neither checks nor foreign keys, and on MariaDB only checks go.
var carriedMy = []string{
	`CREATE TRIGGER <1>.<17> BEFORE INSERT ON <1>.<4> FOR EACH ROW SET NEW.<8> = COALESCE(NEW.<8>, 2)`,
	`ALTER TABLE <1>.<4> ADD CONSTRAINT <15> CHECK (<7> > 0)`,
	`ALTER TABLE <1>.<4> ADD CONSTRAINT <16> FOREIGN KEY (<8>) REFERENCES <1>.<2> (<3>)`,
}

// writesMy are what users do while the change waits for its cutover.
var writesMy = []string{
	`UPDATE <1>.<4> SET <8> = 3, <6> = 'moved' WHERE <6> = 'one'`,
	`DELETE FROM <1>.<4> WHERE <6> = 'three'`,
	`INSERT INTO <1>.<4> (<6>, <7>) VALUES ('a new one', 77)`,
}

var altersMy = []string{
	`ALTER TABLE <1>.<4> MODIFY <7> bigint NOT NULL DEFAULT 4 COMMENT 'it''s %s "of" hers; -- /*'`,
	`ALTER TABLE <1>.<4> CHANGE <11> <18> bigint, ADD COLUMN <19> varchar(20) NOT NULL DEFAULT 'q"''%s', DROP KEY <14>, ADD KEY <20> (<8>, <18>)`,
	`ALTER TABLE <1>.<4> MODIFY <7> bigint NOT NULL, RENAME INDEX <12> TO <18>, DROP KEY <13>, ADD CONSTRAINT <19> UNIQUE (<7>, <6>, <5>)`,
	`ALTER TABLE <1>.<4> DROP CONSTRAINT <15>, ADD CONSTRAINT <18> CHECK (<7> >= 0), MODIFY <11> bigint DEFAULT 2, MODIFY <10> varchar(9) NOT NULL`,
}

// TestHostileNamesOnMySQL: names that are made to break out of backticks, strings and files, in every position. What comes out is what
// a native ALTER leaves, with what was written while the change was made.
func TestHostileNamesOnMySQL(t *testing.T) {
	t.Parallel()
	random := dice(t)
	for n := range hostiles(4, 60) {
		list := &names{random: rand.New(rand.NewPCG(random.Uint64(), 0)), length: utf8.RuneCountInString, most: 64, used: map[string]bool{}}
		var all []string
		for len(all) < 21 {
			if name := list.next(); name != "primary" { // no index may be called so
				all = append(all, name)
			}
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			mytest.Each(t, func(t *testing.T, version string) {
				dsn := mytest.Database(t, version)
				db := mytest.Open(t, dsn)
				native := slices.Concat(all[20:], all[1:20])
				natively, engine := func(text string) string { return named(text, native, "`") }, func(text string) string { return named(text, all, "`") }
				each := func(texts []string, name func(string) string) {
					t.Helper()
					for _, text := range texts {
						mytest.Exec(t, db, name(text))
					}
				}
				for _, name := range []func(string) string{natively, engine} {
					t.Cleanup(func() {
						if _, err := db.ExecContext(context.WithoutCancel(t.Context()), name(`DROP DATABASE IF EXISTS <1>`)); err != nil {
							t.Error(err)
						}
					})
					each(everythingMy, name)
					switch maria := strings.HasPrefix(version, "mariadb"); {
					case n%4 > 1 && maria:
						each(carriedMy[1:2], name)
					case n%4 > 1:
						each(carriedMy[1:], name)
					case !maria:
						each(carriedMy[:1], name)
					}
				}
				alter := altersMy[n%len(altersMy)]
				each(append(slices.Clone(writesMy), alter), natively)

				wrote := false
				config := changeling.Config{DropAfter: changeling.DropNow, Fast: true, Capture: changeling.CaptureTriggers, BeforeCutover: func(context.Context, string) error {
					if !wrote {
						each(writesMy, engine)
						wrote = true
					}
					return nil
				}}
				if n/len(altersMy)%2 == 1 {
					config.Capture, config.Binlog = changeling.CaptureBinlog, dsn
				}
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
				defer cancel()
				err := changeling.Apply(ctx, db, engine(alter), config)
				if errors.Is(err, changeling.ErrRefused) {
					t.Fatalf("refused, though the server does it: %v\n%s", err, engine(alter))
				}
				if err != nil {
					t.Fatalf("Apply: %v\n%s", err, engine(alter))
				}
				if !wrote {
					each(writesMy, engine)
				}
				got, want := portraitMy(t, db, all[0], all[3]), portraitMy(t, db, native[0], native[3])
				if d := diff(want, got); d != "" {
					t.Errorf("- native, + engine:\n%s\nafter %s", d, engine(alter))
				}
				var left sql.NullString
				if err := db.QueryRowContext(ctx, `SELECT GROUP_CONCAT(schema_name) FROM information_schema.schemata WHERE schema_name LIKE 'changeling!_%' ESCAPE '!'
  AND EXISTS (SELECT 1 FROM changeling.chg c WHERE c.table_schema = ? AND INSTR(schema_name, c.id) > 0)`, all[0]).Scan(&left); err != nil || left.Valid {
					t.Errorf("left over: %s, %v", left.String, err)
				}
			})
		})
	}
}

// portraitMy is what a table is, in the server's own words, and its rows.
func portraitMy(t *testing.T, db *sql.DB, schema, table string) (out []string) {
	t.Helper()
	quoted := named("<1>.<2>", []string{schema, table}, "`")
	var name, text string
	if err := db.QueryRowContext(t.Context(), "SHOW CREATE TABLE "+quoted).Scan(&name, &text); err != nil {
		t.Fatal(err)
	}
	out = append(out, regexp.MustCompile(` AUTO_INCREMENT=\d+`).ReplaceAllString(text, ""))
	for _, query := range []string{`SELECT * FROM ` + quoted,
		`SELECT trigger_name, event_manipulation, action_timing, action_statement FROM information_schema.triggers WHERE event_object_schema = '` + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(schema) + `'`} {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for rows.Next() {
			values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%+v", values))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(lines)
		out = append(append(out, fmt.Sprintf("%q", columns)), lines...)
	}
	return out
}
