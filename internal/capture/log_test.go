package capture_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/capture"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
)

// TestDefinition: what happens to the table as a whole ends a batch, with the keys before it and none after it.
func TestDefinition(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		for _, c := range []struct {
			statement string
			truncated bool
			altered   string // a part of it
		}{
			{"TRUNCATE TABLE t", true, ""},
			{"ALTER TABLE t ADD COLUMN more INT", false, "ADD COLUMN more"},
			{"ALTER TABLE t MODIFY id BIGINT UNSIGNED NOT NULL", false, "MODIFY id"},
			{"CREATE INDEX i ON t (note)", false, "CREATE INDEX i"},
			{"RENAME TABLE t TO old_t, x TO t", false, "old_t"},
			{"DROP TABLE t", false, "DROP TABLE"},
			{"ALTER TABLE parted EXCHANGE PARTITION p WITH TABLE t", false, "EXCHANGE PARTITION"},
		} {
			t.Run(c.statement, func(t *testing.T) {
				t.Parallel()
				s := newScene(t, version)
				r := s.watch(small, "CREATE TABLE x LIKE t",
					"CREATE TABLE parted (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, note VARCHAR(200)) PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (1000))")
				s.exec("TRUNCATE TABLE x", "ALTER TABLE x COMMENT 't'", "INSERT INTO t VALUES (1, 'a')", c.statement)
				if !strings.HasPrefix(c.statement, "DROP") {
					s.exec("INSERT INTO t (id) VALUES (2)")
				}
				b := s.upto(r)
				if show(b.Keys) != "1" || b.Truncated != c.truncated || (c.altered == "") != (len(b.Altered) == 0) || c.altered != "" && !strings.Contains(b.Altered[0], c.altered) {
					t.Errorf("batch %+v", b)
				}
				if !strings.HasPrefix(c.statement, "DROP") {
					b = s.upto(r)
					if differs := strings.Contains(c.statement, "ADD COLUMN"); differs != (len(b.Altered) == 1) || !differs && show(b.Keys) != "2" {
						t.Errorf("batch after it %+v", b)
					}
				}
			})
		}
	})
}

// TestStatement: a write that the log has as text is an error; one of another table is not.
func TestStatement(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch(small, "CREATE TABLE other (a INT PRIMARY KEY)")
		s.session("SET binlog_format = STATEMENT", "INSERT INTO other VALUES (1)")
		if b := s.upto(r); len(b.Keys) != 0 {
			t.Errorf("batch %+v of another table's statement", b)
		}
		s.session("SET binlog_format = STATEMENT", "INSERT INTO t (note) VALUES ('x')")
		if err := s.failure(r); !errors.Is(err, capture.ErrStatement) {
			t.Errorf("Next returns %v, want %v", err, capture.ErrStatement)
		} else {
			t.Log(err)
		}
		if err := s.failure(r); !errors.Is(err, capture.ErrStatement) {
			t.Errorf("Next then returns %v, want %v again", err, capture.ErrStatement)
		}
	})
}

// TestXA: the keys of a prepared transaction come when it is committed, also to a reader that was begun anew meanwhile.
func TestXA(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := own(t, version, nil) // XA RECOVER is about the whole server
		r := s.watch(small, "CREATE TABLE other (a INT PRIMARY KEY)")
		prepare := func(id, statement string) {
			s.session("XA START "+id, statement, "XA END "+id, "XA PREPARE "+id)
		}
		prepare("'a','b',7", "INSERT INTO t VALUES (1, 'xa')")
		prepare("'other'", "INSERT INTO other VALUES (1)")
		s.exec("INSERT INTO t VALUES (2, 'plain')")
		b := s.upto(r)
		if show(b.Keys) != "2" {
			t.Fatalf("keys %s while a transaction is prepared, want 2", show(b.Keys))
		}
		held := saved(t, b.Position)
		s.exec("FLUSH BINARY LOGS", "XA COMMIT 'a','b',7")
		if got := show(s.upto(r).Keys); got != "1" {
			t.Errorf("keys %s after XA COMMIT, want 1", got)
		}
		cfg := s.config()
		cfg.From = held
		again := s.open(cfg)
		if got := show(s.upto(again).Keys); got != "2 1" {
			t.Errorf("keys %s after a restart, want 2 1", got)
		}

		prepare("'back'", "INSERT INTO t VALUES (3, 'xa')")
		s.exec("XA ROLLBACK 'back'")
		s.session("XA START 'one'", "INSERT INTO t VALUES (4, 'xa')", "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
		b = s.upto(r)
		if got := show(b.Keys); got != "4" {
			t.Errorf("keys %s after rollback and one phase, want 4", got)
		}
		// The other table's transaction is still prepared, and does not hold the position.
		if b.Position.File == held.File || len(b.Position.Prepared) != 1 {
			t.Errorf("position %+v, want one behind %+v with one XA transaction", b.Position, held)
		}
		cfg.From = saved(t, b.Position)
		late := s.open(cfg)
		cfg.From.Prepared = nil
		blind := s.open(cfg)
		s.exec("XA COMMIT 'other'", "INSERT INTO t VALUES (5, 'plain')")
		for _, r := range []*capture.Reader{r, late} {
			if got := show(s.upto(r).Keys); got != "5" {
				t.Errorf("keys %s after another table's XA COMMIT, want 5", got)
			}
		}
		if err := s.failure(blind); !errors.Is(err, capture.ErrXA) {
			t.Errorf("Next returns %v after the commit of an unknown transaction, want %v", err, capture.ErrXA)
		}
	})
}

// TestPartial: a transaction that does not fit into memory comes in parts, and the position stays before it.
func TestPartial(t *testing.T) {
	t.Parallel()
	const rows = 30000
	mytest.Each(t, func(t *testing.T, version string) {
		// Without GTIDs a position inside of the transaction would be one from where its rows cannot be read.
		s := own(t, version, map[string]string{"loose_gtid_mode": "OFF", "loose_enforce_gtid_consistency": "OFF"})
		s.exec(small, "CREATE TABLE digit (d INT PRIMARY KEY)", "INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
		cfg := s.config()
		cfg.MaxBytes = 100_000
		r := s.open(cfg)
		s.exec("INSERT INTO t SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d, REPEAT('x', 100) FROM digit a, digit b, digit c, digit d, digit e WHERE e.d BETWEEN 1 AND 3")
		seen := map[string]bool{}
		batches, before := 0, capture.Position{}
		for len(seen) < rows {
			b, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range b.Keys {
				seen[show([]capture.Key{k})] = true
			}
			if len(b.Keys) > 4000 {
				t.Errorf("%d keys in a batch of %d bytes at most", len(b.Keys), cfg.MaxBytes)
			}
			if batches++; b.Partial {
				before = b.Position
			}
		}
		if batches < rows/4000 || before.File == "" {
			t.Errorf("%d batches, the last part at %v", batches, before)
		}
		cfg.From = saved(t, before)
		if got := len(s.upto(s.open(cfg)).Keys); got != rows {
			t.Errorf("%d keys after a restart in the middle of it, want all %d", got, rows)
		}
	})
}

// TestPartialJSON: an update that logs only a part of a document yields its key.
func TestPartialJSON(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch("CREATE TABLE t (doc JSON, id INT PRIMARY KEY, more JSON)",
			`INSERT INTO t VALUES ('{"a": "xxxxxxxxxxxxxxxx", "b": "yyyyyyyyyyyyyyyyyyy"}', 1, '[1, 2, 3]'), (NULL, 2, NULL)`)
		for _, image := range []string{"FULL", "MINIMAL"} {
			s.session("SET binlog_row_value_options = PARTIAL_JSON", "SET binlog_row_image = "+image,
				`UPDATE t SET doc = JSON_SET(doc, '$.a', '`+image+`')`, `UPDATE t SET more = JSON_REMOVE(more, '$[0]')`)
			if got := show(s.upto(r).Keys); got != "1 1" {
				t.Errorf("keys %s with image %s, want 1 1", got, image)
			}
		}
	}, "mysql") // MariaDB logs documents whole
}

// TestColumns: what stands in a row as a column is what information_schema has, hidden ones and computed ones included.
func TestColumns(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		tables := []string{
			"CREATE TABLE t (a INT INVISIBLE DEFAULT 1, v INT AS (a + 1) VIRTUAL, s INT AS (a + 2) STORED, id INT PRIMARY KEY, z GEOMETRY)",
			"CREATE TABLE t (v INT AS (id + 1) VIRTUAL, j JSON, id INT, b BIT(3), e ENUM('x'), f FLOAT, PRIMARY KEY (id, b), KEY (v))",
		}
		if strings.HasPrefix(version, "mysql") {
			tables = append(tables,
				"CREATE TABLE t (j JSON, id INT PRIMARY KEY, KEY ((id + 1)), KEY ((CAST(j AS UNSIGNED ARRAY))))",
				"CREATE TABLE t (j JSON, v VECTOR(3), id INT PRIMARY KEY)")
		}
		for _, image := range []string{"FULL", "MINIMAL"} {
			for _, table := range tables {
				s := newScene(t, version)
				r := s.watch(table)
				values := "id) VALUES (77)"
				if strings.Contains(table, "BIT(3)") {
					values = "id, b) VALUES (77, b'101')"
				}
				s.session("SET binlog_row_image = "+image, "INSERT INTO t ("+values, "UPDATE t SET id = 78", "DELETE FROM t")
				b := s.upto(r)
				if got := strings.ReplaceAll(show(b.Keys), "/5", ""); got != "77 77 78 78" || b.Altered != nil {
					t.Errorf("%s: %+v, want keys 77 77 78 78", table, b)
				}
			}
		}
		if strings.HasPrefix(version, "mysql") {
			s := newScene(t, version)
			s.session("SET sql_generate_invisible_primary_key = ON", "CREATE TABLE t (note TEXT)")
			r := s.watch()
			s.exec("INSERT INTO t VALUES ('x'), ('y')", "DELETE FROM t WHERE note = 'x'")
			if got := show(s.upto(r).Keys); got != "1 2 1" {
				t.Errorf("keys %s of a generated primary key, want 1 2 1", got)
			}
		}
	})
}

// TestLoad: LOAD DATA is read like any other write, and refused like any other statement.
func TestLoad(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		s := newScene(t, version)
		r := s.watch(small, "CREATE TABLE other LIKE t")
		s.exec("INSERT INTO other VALUES (1, 'x'), (2, 'y')")
		var dir string
		s.scan("SELECT @@tmpdir", &dir)
		file := fmt.Sprintf("'%s/%s'", dir, s.database)
		s.exec("SELECT * INTO OUTFILE "+file+" FROM other", "LOAD DATA INFILE "+file+" INTO TABLE t")
		if got := show(s.upto(r).Keys); got != "1 2" {
			t.Errorf("keys %s, want 1 2", got)
		}
		s.session("SET binlog_format = STATEMENT", "DELETE FROM other", "LOAD DATA INFILE "+file+" INTO TABLE other")
		s.upto(r)
		s.session("SET binlog_format = STATEMENT", "LOAD DATA INFILE "+file+" REPLACE INTO TABLE t")
		if err := s.failure(r); !errors.Is(err, capture.ErrStatement) {
			t.Errorf("Next returns %v, want %v", err, capture.ErrStatement)
		} else {
			t.Log(err)
		}
	})
}
