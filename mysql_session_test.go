package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/plan"
)

// TestMySQLRename: a table that gets another name is done, and not done again.
func TestMySQLRename(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, _ string, db *sql.DB) {
		mytest.Exec(t, db, `CREATE TABLE clients (id int PRIMARY KEY)`, `INSERT INTO clients VALUES (1)`)
		for range 2 {
			if err := changeling.Apply(t.Context(), db, `ALTER TABLE clients RENAME TO customers`, changeling.Config{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := myContent(t, db, `SELECT id FROM customers`); !slices.Equal(got, []string{`"1"`}) {
			t.Errorf("the table is %v", got)
		}
		mytest.Exec(t, db, `CREATE TABLE clients (id int PRIMARY KEY)`)
		if err := changeling.Apply(t.Context(), db, `ALTER TABLE clients RENAME TO customers`, changeling.Config{}); err == nil || !strings.Contains(err.Error(), "customers") {
			t.Errorf("the rename of another table to a name that is taken: %v", err)
		}
	})
}

// TestMySQLForeignSessions: whatever new sessions of a server are, a change reads all of a table and of its definition, ends its own transactions,
// and knows what the server would copy.
func TestMySQLForeignSessions(t *testing.T) {
	t.Parallel()
	for _, version := range mytest.Versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server := mytest.Own(t, dbtest.MySQLOptions{Version: version})
			root := mytest.Open(t, server.DSN(""))
			root.SetMaxOpenConns(1)
			mytest.Exec(t, root, `CREATE DATABASE shop`, `CREATE TABLE shop.orders (id int PRIMARY KEY, v int, w int, note varchar(20) DEFAULT 'it''s "odd"' COMMENT 'a "b"', KEY (v), KEY (w), CHECK (note <> 'x'))`, `INSERT INTO shop.orders (id, v, w) VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)`)
			kinds := map[string]string{"a limit of rows": "sql_select_limit = 1", "transactions from the start": "autocommit = 0", "safe updates": "sql_safe_updates = 1", "the session ends with a transaction": "completion_type = 2",
				"a limit of joins": "max_join_size = 1", "names without quotes": "sql_quote_show_create = 0", "a limit of time": "max_execution_time = 1"}
			kinds["other quotes"] = "sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES'"
			if server.MariaDB() {
				kinds["a limit of time"] = "max_statement_time = 0.001"
				kinds["tables are altered by a copy"], kinds["tables are altered at once"] = "alter_algorithm = 'COPY'", "alter_algorithm = 'INSTANT'"
				kinds["definitions as of another server"], kinds["words of another server"] = "sql_mode = 'MSSQL,STRICT_TRANS_TABLES'", "sql_mode = 'ORACLE'"
			}
			for name, setting := range kinds {
				variable, _, _ := strings.Cut(setting, " ")
				mytest.Exec(t, root, "SET GLOBAL "+setting)
				for _, ddl := range []string{`ALTER TABLE shop.orders MODIFY v bigint`, `ALTER TABLE shop.orders MODIFY v int, COMMENT = 'mine'`} {
					db := mytest.Open(t, server.DSN("shop"))
					if err := changeling.Apply(t.Context(), db, ddl, changeling.Config{DropAfter: changeling.DropNow, Route: plan.ShadowTable}); err != nil { // no rehearsal says less
						t.Errorf("%s: %s: %v", name, ddl, err)
						continue
					}
					e, err := changeling.Open(t.Context(), db, changeling.Config{})
					if err != nil {
						t.Fatal(err)
					}
					if c, err := e.Start(t.Context(), ddl); err != nil || c != nil {
						t.Errorf("%s: %s is begun again: %v, %v", name, ddl, c, err)
					}
					e.Close()
				}
				var rows int
				if err := root.QueryRow(`SELECT COUNT(*) FROM shop.orders WHERE v = id AND w = id`).Scan(&rows); err != nil || rows != 3 {
					t.Errorf("%s: %d rows are as they were, %v, want 3", name, rows, err)
				}
				mytest.Exec(t, root, "SET GLOBAL "+variable+" = @@"+variable) // as the session began
			}

			// The mutant leaves sessions as they are, and loses columns.
			mytest.Exec(t, root, `CREATE TABLE shop.lost LIKE shop.orders`, `INSERT INTO shop.lost SELECT * FROM shop.orders`, "SET GLOBAL sql_select_limit = 1")
			careless := mytest.Mutant(t, server.DSN("shop"), func(_ context.Context, s mutant.Statement) string {
				if strings.HasPrefix(s.Text, "SET NAMES utf8mb4, ") {
					return "SET NAMES utf8mb4"
				}
				return s.Text
			})
			err := changeling.Apply(t.Context(), careless, `ALTER TABLE shop.lost MODIFY v bigint`, changeling.Config{DropAfter: changeling.DropNow})
			var rows int
			if scanErr := root.QueryRow(`SELECT COUNT(*) FROM shop.lost WHERE v = id AND w = id`).Scan(&rows); scanErr != nil || err == nil && rows == 3 {
				t.Errorf("without settings of its own a session reads all: %d rows, %v", rows, scanErr)
			}
		})
	}
}

// TestMariaDBRoles: triggers there have the rights of who made them, without his roles, so those that he has by a role alone are no rights. What a
// plan asks for is enough for whoever writes the table.
func TestMariaDBRoles(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		server := mytest.Own(t, dbtest.MySQLOptions{Version: version})
		if !server.MariaDB() {
			return
		}
		root := mytest.Open(t, server.DSN("mysql"))
		mytest.Exec(t, root, `CREATE DATABASE shop`, `CREATE TABLE shop.t (id int PRIMARY KEY, a int)`, `INSERT INTO shop.t VALUES (1, 1)`, `CREATE ROLE boss`, `GRANT ALL ON *.* TO boss`)
		u, err := url.Parse(server.DSN("shop"))
		if err != nil {
			t.Fatal(err)
		}
		triggers, column := quick, byColumn()
		triggers.Capture = changeling.CaptureTriggers
		for name, config := range map[string]changeling.Config{"runs": triggers, "fills": column} {
			mytest.Exec(t, root, `ALTER TABLE shop.t MODIFY a int`, `CREATE USER `+name+`@'%'`, `GRANT boss TO `+name+`@'%'`, `SET DEFAULT ROLE boss FOR `+name+`@'%'`)
			u.User = url.User(name)
			db := mytest.Open(t, u.String())
			config.Events = upon(event.Discard, beganStep("verify"), func() {
				mytest.Exec(t, root, `UPDATE shop.t SET a = a + 1`, `INSERT INTO shop.t SELECT MAX(id) + 1, 1 FROM shop.t`)
			})
			err := changeling.Apply(t.Context(), db, `ALTER TABLE t MODIFY a bigint`, config)
			_, needed, found := strings.Cut(fmt.Sprint(err), "Needed: ")
			if !errors.Is(err, changeling.ErrRefused) || !found {
				t.Fatalf("%s, with rights by a role: %v, want ErrRefused that says what is needed", name, err)
			}
			needed, _, _ = strings.Cut(needed, ". Triggers")
			mytest.Exec(t, root, strings.Split(needed, "; ")...)
			db = mytest.Open(t, u.String())
			if err := changeling.Apply(t.Context(), db, `ALTER TABLE t MODIFY a bigint`, config); err != nil {
				t.Errorf("%s, with %s: %v", name, needed, err)
			}
		}
		if n := ask[int](t, root, `SELECT COUNT(*) FROM shop.t`); n != 3 {
			t.Errorf("%d rows, want 3", n)
		}
	})
}
