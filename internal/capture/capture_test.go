package capture_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/schema"
)

func TestMain(m *testing.M) { mytest.Main(m) }

// scene is a database with a table t, and readers of it.
type scene struct {
	*testing.T
	server   *dbtest.MySQL
	db       *sql.DB
	database string
}

func newScene(t *testing.T, version string) *scene {
	return sceneAt(t, mytest.Server(t, version), mytest.Database(t, version))
}

func sceneAt(t *testing.T, server *dbtest.MySQL, dsn string) *scene {
	s := &scene{T: t, server: server, db: mytest.Open(t, dsn)}
	s.scan("SELECT DATABASE()", &s.database)
	return s
}

func (s *scene) scan(query string, into ...any) {
	s.Helper()
	if err := s.db.QueryRowContext(s.Context(), query).Scan(into...); err != nil {
		s.Fatalf("%v\nin: %s", err, query)
	}
}

func (s *scene) exec(statements ...string) { s.Helper(); mytest.Exec(s, s.db, statements...) }

// session runs statements in one session of their own.
func (s *scene) session(statements ...string) {
	s.Helper()
	conn, err := s.db.Conn(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	mytest.Exec(s, conn, statements...)
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // its settings go with it
}

func (s *scene) current() capture.Position {
	s.Helper()
	p, err := capture.Current(s.Context(), s.db)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// config is for table t, as the catalogue has it.
func (s *scene) config() capture.Config {
	s.Helper()
	cfg := capture.Config{
		Addr: s.server.Addr(), User: "root", Flavor: capture.MySQL,
		Table: schema.Name{Schema: s.database, Table: "t"}, From: s.current(),
	}
	if s.server.MariaDB() {
		cfg.Flavor = capture.MariaDB
	}
	s.scan("SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'", &cfg.Columns)
	rows, err := s.db.QueryContext(s.Context(), `SELECT c.COLUMN_NAME, c.ORDINAL_POSITION - 1, c.DATA_TYPE, c.COLUMN_TYPE LIKE '%unsigned%', COALESCE(c.CHARACTER_SET_NAME, '')
		FROM information_schema.COLUMNS c JOIN information_schema.STATISTICS k USING (TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME)
		WHERE c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = 't' AND k.INDEX_NAME = 'PRIMARY' ORDER BY k.SEQ_IN_INDEX`)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c capture.Column
		if err := rows.Scan(&c.Name, &c.Ordinal, &c.Type, &c.Unsigned, &c.Charset); err != nil {
			s.Fatal(err)
		}
		cfg.Key = append(cfg.Key, c)
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return cfg
}

func (s *scene) open(cfg capture.Config) *capture.Reader {
	s.Helper()
	r, err := capture.Open(cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(r.Close)
	return r
}

// watch makes the table, runs what is to happen before, and reads from there.
func (s *scene) watch(statements ...string) *capture.Reader {
	s.Helper()
	s.exec(statements...)
	return s.open(s.config())
}

// upto returns what happened until now.
func (s *scene) upto(r *capture.Reader) capture.Batch {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	b, err := r.Upto(ctx, s.current())
	if err != nil {
		s.Fatal(err)
	}
	return b
}

// failure returns the error to which a reader comes.
func (s *scene) failure(r *capture.Reader) error {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	for {
		if _, err := r.Next(ctx); err != nil {
			return err
		}
	}
}

func show(keys []capture.Key) string {
	var out []string
	for _, k := range keys {
		var values []string
		for _, v := range k {
			if b, ok := v.([]byte); ok {
				v = fmt.Sprintf("x%x", b)
			}
			values = append(values, fmt.Sprint(v))
		}
		out = append(out, strings.Join(values, "/"))
	}
	return strings.Join(out, " ")
}

// TestKeys: what changes a row yields its key, whatever the row image, and nothing else does.
func TestKeys(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		images := []string{"FULL", "NOBLOB", "MINIMAL"}
		if strings.HasPrefix(version, "mariadb11") {
			images = append(images, "FULL_NODUP")
		}
		for _, image := range images {
			t.Run(image, func(t *testing.T) {
				t.Parallel()
				s := newScene(t, version)
				r := s.watch("CREATE TABLE t (note TEXT, b INT NOT NULL, a INT UNSIGNED NOT NULL, v BLOB, PRIMARY KEY (a, b))",
					"INSERT INTO t (a, b) VALUES (7, 7), (8, 8), (9, 9)",
					"CREATE TABLE other LIKE t")
				for _, c := range []struct {
					rule string
					run  []string
					want string
				}{
					{"insert", []string{"INSERT INTO t (a, b, note) VALUES (1, -1, 'x'), (4294967295, 2, NULL)"}, "1/-1 4294967295/2"},
					{"update of another column", []string{"UPDATE t SET v = 'x' WHERE a = 1"}, "1/-1"},
					{"update that changes nothing", []string{"UPDATE t SET v = 'x' WHERE a = 1"}, ""},
					{"update of a part of the key", []string{"UPDATE t SET b = b - 1 WHERE a < 8"}, "1/-1 1/-2 7/7 7/6"},
					{"update of all of it", []string{"UPDATE t SET a = 2, b = 3, v = REPEAT('y', 60000) WHERE a = 1"}, "1/-2 2/3"},
					{"delete", []string{"DELETE FROM t WHERE a = 2"}, "2/3"},
					{"replace", []string{"REPLACE INTO t (a, b, note) VALUES (8, 8, 'new')"}, "8/8"},
					{"insert on duplicate key", []string{"INSERT INTO t (a, b) VALUES (9, 9) ON DUPLICATE KEY UPDATE note = 'again'"}, "9/9"},
					{"transaction", []string{"BEGIN", "INSERT INTO t (a, b) VALUES (10, 0)", "DELETE FROM t WHERE a = 10", "COMMIT"}, "10/0 10/0"},
					{"rollback", []string{"BEGIN", "INSERT INTO t (a, b) VALUES (11, 0)", "ROLLBACK"}, ""},
					{"other tables", []string{"INSERT INTO other (a, b) VALUES (1, 1)", "DELETE FROM other"}, ""},
				} {
					s.session(append([]string{"SET binlog_row_image = " + image}, c.run...)...)
					b := s.upto(r)
					keys := slices.CompactFunc(b.Keys, func(x, y capture.Key) bool { // REPLACE may be a delete and an insert
						return c.rule == "replace" && slices.Equal(x, y)
					})
					if got := show(keys); got != c.want || b.Truncated || b.Altered != nil || b.Partial {
						t.Errorf("%s: %+v, want keys %s", c.rule, b, c.want)
					}
				}
				// A rollback to a savepoint may leave its events in the log, and does no harm.
				s.exec("DELETE FROM t")
				s.upto(r)
				s.session("SET binlog_row_image = "+image, "BEGIN", "INSERT INTO t (a, b) VALUES (1, 1)", "SAVEPOINT x",
					"INSERT INTO t (a, b) VALUES (2, 2)", "ROLLBACK TO SAVEPOINT x", "INSERT INTO t (a, b) VALUES (3, 3)", "COMMIT")
				if got := show(s.upto(r).Keys); got != "1/1 3/3" && got != "1/1 2/2 3/3" {
					t.Errorf("savepoint: keys %s, want 1/1 3/3", got)
				}
			})
		}
	})
}

// TestMinimalInsert: a key that the log does not have is an error and not a guess.
func TestMinimalInsert(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch("CREATE TABLE t (a INT NOT NULL, b INT NOT NULL DEFAULT 5, c INT, PRIMARY KEY (a, b))")
		s.session("SET binlog_row_image = MINIMAL", "INSERT INTO t (a, c) VALUES (1, 1)")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		b, err := r.Upto(ctx, s.current())
		t.Log(show(b.Keys), err)
		if !errors.Is(err, capture.ErrImage) && show(b.Keys) != "1/5" {
			t.Errorf("Upto = %+v, %v; want the key 1/5 or %v", b, err, capture.ErrImage)
		}
	})
}

// emoji finds strings that MySQL cannot show in information_schema.PROCESSLIST, which is utf8mb3: a query of it then fails.
var emoji = regexp.MustCompile(`'[^']*😀[^']*'`)

// TestTypes: each value, as the argument of a statement, finds its row.
func TestTypes(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, c := range []struct {
			column string
			values string
			want   string // as text, where the form matters
		}{
			{"TINYINT", "-128, -1, 0, 127", "-128 -1 0 127"},
			{"TINYINT UNSIGNED", "0, 128, 255", "0 128 255"},
			{"SMALLINT UNSIGNED", "0, 65535", "0 65535"},
			{"MEDIUMINT", "-8388608, -1, 8388607", "-8388608 -1 8388607"},
			{"MEDIUMINT UNSIGNED", "0, 8388608, 16777215", "0 8388608 16777215"},
			{"INT", "-2147483648, -1, 2147483647", "-2147483648 -1 2147483647"},
			{"INT UNSIGNED", "0, 2147483648, 4294967295", "0 2147483648 4294967295"},
			{"INT UNSIGNED ZEROFILL", "1, 4294967295", "1 4294967295"},
			{"BIGINT", "-9223372036854775808, -1, 9223372036854775807", "-9223372036854775808 -1 9223372036854775807"},
			{"BIGINT UNSIGNED", "0, 9223372036854775807, 9223372036854775808, 18446744073709551614, 18446744073709551615", ""},
			{"YEAR", "0, 1901, 2026, 2155", "0 1901 2026 2155"},
			{"BIT(1)", "b'0', b'1'", "0 1"},
			{"BIT(64)", "0, 9223372036854775806, 9223372036854775807", "0 9223372036854775806 9223372036854775807"},
			{"DECIMAL(65,30)", "-12345678901234567890123456789012345.123456789012345678901234567891, 0, 0.5", ""},
			{"DECIMAL(10,2)", "-1.50, 1.00, 99999999.99", "-1.50 1.00 99999999.99"},
			{"DATE", "'1000-01-01', '2026-11-22', '9999-12-31'", "1000-01-01 2026-11-22 9999-12-31"},
			{"TIME", "'-838:59:59', '-00:00:01', '00:00:00', '838:59:59'", "-838:59:59 -00:00:01 00:00:00 838:59:59"},
			{"TIME(2)", "'-01:02:03.45', '-00:00:00.01', '00:00:00.10', '12:00:00'", ""},
			{"TIME(4)", "'-01:02:03.4567', '-00:00:00.0001', '12:00:00.1000'", ""},
			{"TIME(6)", "'-01:02:03.456789', '-00:00:00.000001', '12:00:00.100000'", ""},
			{"DATETIME", "'1000-01-01 00:00:00', '2026-03-29 02:30:00', '9999-12-31 23:59:59'", ""},
			{"DATETIME(3)", "'2026-03-29 02:30:00.120', '2026-03-29 02:30:00'", ""},
			{"DATETIME(6)", "'2026-03-29 02:30:00.000001', '2026-03-29 02:30:00.999999'", "2026-03-29 02:30:00.000001 2026-03-29 02:30:00.999999"},
			{"TIMESTAMP", "'1970-01-01 00:00:01', '2026-03-29 01:30:00', '2038-01-19 03:14:07'", "1970-01-01 00:00:01 2026-03-29 01:30:00 2038-01-19 03:14:07"},
			{"TIMESTAMP(6)", "'2026-10-25 00:30:00.000001', '2026-10-25 01:30:00.5'", "2026-10-25 00:30:00.000001 2026-10-25 01:30:00.500000"},
			{"CHAR(5) CHARACTER SET utf8mb4", "'', 'a', 'a b', '😀é'", ""},
			{"CHAR(255) CHARACTER SET utf8mb4", "'', 'a', REPEAT('😀', 255)", ""},
			{"VARCHAR(300) CHARACTER SET utf8mb4", "'', 'ä', '日本', REPEAT('😀', 300)", ""},
			{"VARCHAR(9) CHARACTER SET utf8mb3", "'ä', '日本'", "ä 日本"},
			{"VARCHAR(9) CHARACTER SET ascii", "'', 'Az~'", ""},
			{"VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_bin", "'', 'ÄÖÜß', '€uro', UNHEX('818D8F909D'), UNHEX('00FF')", ""},
			{"CHAR(9) CHARACTER SET latin1", "'ÄÖ', 'x'", "ÄÖ x"},
			{"VARCHAR(9) CHARACTER SET latin2 COLLATE latin2_bin", "'Łódź', 'x'", "Łódź x"},
			{"VARCHAR(9) CHARACTER SET cp1251 COLLATE cp1251_bin", "'Привет'", "Привет"},
			{"VARCHAR(9) CHARACTER SET koi8r COLLATE koi8r_bin", "'Привет'", "Привет"},
			{"VARCHAR(9) CHARACTER SET greek COLLATE greek_bin", "'αβγ'", "αβγ"},
			{"VARCHAR(9) CHARACTER SET ucs2", "'ä日', ''", ""},
			{"VARCHAR(9) CHARACTER SET utf16", "'ä😀', ''", ""},
			{"VARCHAR(9) CHARACTER SET utf16le", "'ä😀'", "ä😀"},
			{"VARCHAR(9) CHARACTER SET utf32", "'ä😀'", "ä😀"},
			{"VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "'a', 'A', 'á'", "a A á"},
			{"BINARY(4)", "'', 'a', UNHEX('61000000'), UNHEX('00006100'), UNHEX('FF')", ""},
			{"BINARY(255)", "'', UNHEX('00FF00')", ""},
			{"VARBINARY(300)", "'', UNHEX('6100'), UNHEX('61'), UNHEX('00'), UNHEX(REPEAT('FF', 300))", ""},
			{"ENUM('b', 'a', 'c')", "'a', 'b', 'c'", "2 1 3"},
			{"SET('x', 'y', 'z')", "'', 'x', 'y,z'", "0 1 6"},
		} {
			t.Run(c.column, func(t *testing.T) {
				t.Parallel()
				s := newScene(t, version)
				binary := strings.HasPrefix(c.column, "BINARY")
				r := s.watch("CREATE TABLE t (before_it JSON, k " + c.column + " NOT NULL, after_it DOUBLE, PRIMARY KEY (k))")
				var rows []string
				for _, v := range split(c.values) {
					if binary && v == "'a'" {
						continue // the same as 61000000
					}
					v = emoji.ReplaceAllStringFunc(v, func(s string) string { return fmt.Sprintf("_utf8mb4 0x%x", strings.Trim(s, "'")) })
					rows = append(rows, `('{"a": [1.5, "x"]}', `+v+", 1.5)")
				}
				s.session("SET time_zone = '+00:00'", "SET NAMES utf8mb4", "INSERT INTO t VALUES "+strings.Join(rows, ", "))
				b := s.upto(r)
				if len(b.Keys) != len(rows) || c.want != "" && show(b.Keys) != c.want {
					t.Fatalf("keys %q, want %q (%d)", show(b.Keys), c.want, len(rows))
				}
				conn, err := s.db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				mytest.Exec(t, conn, "SET NAMES utf8mb4", "SET time_zone = '+00:00'", "CREATE TEMPORARY TABLE seen SELECT k FROM t WHERE FALSE")
				for _, k := range b.Keys {
					var n int
					if err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t WHERE k = ?", k...).Scan(&n); err != nil || n != 1 {
						t.Errorf("%d rows are found by %s (%T): %v", n, show([]capture.Key{k}), k[0], err)
					}
					if _, err := conn.ExecContext(t.Context(), "INSERT INTO seen SELECT k FROM t WHERE k = ?", k...); err != nil {
						t.Error(err)
					}
				}
				var lost int
				if err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM t WHERE k NOT IN (SELECT k FROM seen)").Scan(&lost); err != nil || lost != 0 {
					t.Errorf("%d rows were not found, %v", lost, err)
				}
			})
		}
	})
}

// split cuts a list of SQL values at the commas outside of quotes and parentheses.
func split(list string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			out, from = append(out, strings.TrimSpace(list[from:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(list[from:]))
}
