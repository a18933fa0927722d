package conformance

import (
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/postgres"
	"github.com/changeling-db/changeling/schema"
)

// BenchmarkInspect measures what the cutover does under its lock: read everything about a table of 20 columns with 6 indexes
// and 4 foreign keys, among 500 other tables, and sum it up.
func BenchmarkInspect(b *testing.B) {
	db := pgtest.Open(b, pgtest.Database(b))
	pgtest.Exec(b, db, `
DO $$ BEGIN
  FOR i IN 1..500 LOOP
    EXECUTE format('CREATE TABLE other_%s (id serial PRIMARY KEY, a text UNIQUE, b int CHECK (b > 0), c timestamptz DEFAULT now(), d int REFERENCES other_%s)', i, greatest(i - 1, 1));
  END LOOP;
  EXECUTE (SELECT 'CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, p1 int REFERENCES other_1, p2 int REFERENCES other_2, n serial, ' ||
    string_agg(format('c%s %s', i, (ARRAY['int NOT NULL DEFAULT 5', 'text', 'numeric(10,2)', 'timestamptz DEFAULT now()'])[i % 4 + 1]), ', ') || ', CHECK (c4 > 0), UNIQUE (c1, c2))' FROM generate_series(1, 16) i);
END $$;
CREATE INDEX ON t (c1); CREATE INDEX ON t (lower(c5)) WHERE c4 > 7; CREATE INDEX ON t (c2 DESC, c3); CREATE INDEX ON t (c4) INCLUDE (c5);
CREATE TABLE child_1 (t bigint REFERENCES t); CREATE TABLE child_2 (t bigint REFERENCES t ON DELETE CASCADE);
GRANT SELECT, INSERT ON t TO PUBLIC; COMMENT ON COLUMN t.c1 IS 'c1';
ANALYZE`)
	tx, err := db.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback() // nothing was written
	pgtest.Exec(b, tx, `SET LOCAL search_path = pg_catalog`)
	_, oid, err := postgres.Resolve(b.Context(), tx, schema.Name{Schema: "public", Table: "t"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := postgres.Inspect(b.Context(), tx, oid)
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Columns) != 20 || len(r.Indexes) != 6 || r.Fingerprint() == "" {
			b.Fatalf("%d columns, %d indexes", len(r.Columns), len(r.Indexes))
		}
	}
}
