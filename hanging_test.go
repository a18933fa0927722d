package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// hung is what hangs on the victim's table and goes along with it.
var hung = []string{
	`CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
	`CREATE TRIGGER touched AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched()`,
	`CREATE POLICY mine ON orders USING (tenant > 0)`,
	`ALTER TABLE orders ENABLE ROW LEVEL SECURITY`,
	`CREATE VIEW addresses WITH (security_barrier = true) AS SELECT id, email FROM orders WHERE tenant > 0 WITH CHECK OPTION`,
	`CREATE VIEW numbers AS SELECT o.id AS "order", i.id AS item, a.email FROM orders o JOIN items i ON i."order" = o.id LEFT JOIN addresses a ON a.id = o.id`,
	`DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'news') THEN CREATE PUBLICATION news; END IF; END $$`,
	`ALTER PUBLICATION news SET TABLE orders`,
}

// hangingQueries ask for that.
var hangingQueries = []string{
	`SELECT format('policy %s on %s: %s', polname, polrelid::regclass, pg_get_expr(polqual, polrelid)) FROM pg_policy`,
	`SELECT format('view %s %s: %s', c.oid::regclass, reloptions, pg_get_viewdef(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'v' AND ` + userSchema,
	`SELECT format('%s has row security: %s %s', c.oid::regclass, relrowsecurity, relforcerowsecurity) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND ` + userSchema,
	`SELECT format('number %s', n) FROM numbers n`,
	`SELECT format('published %s', r.prrelid::regclass) FROM pg_publication_rel r`,
}

// hanging is portrait with that.
func hanging(t *testing.T, db *sql.DB) []string {
	t.Helper()
	out := portrait(t, db)
	for _, query := range hangingQueries {
		out = append(out, sorted(t, db, query)...)
	}
	return out
}

// TestDiesWithWhatHangs: whenever a run dies, the next one leaves what a native ALTER leaves of a table on which much hangs.
func TestDiesWithWhatHangs(t *testing.T) {
	t.Parallel()
	setup := slices.Concat(victim, hung)
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, slices.Concat(setup, []string{grow}, between)...)
	mortal{setup: setup, act: applying(grow), look: hanging, want: hanging(t, db), stream: 41, part: 4}.test(t)
}

// TestDiesInAnUndoWithWhatHangs kills the undo likewise, and aborts a change before its swap.
func TestDiesInAnUndoWithWhatHangs(t *testing.T) {
	t.Parallel()
	setup := slices.Concat(victim, hung)
	diesInAnUndo(t, hanging, setup, setup, func(_ context.Context, db *sql.DB) (*changeling.Change, error) {
		return made(t, db, grow, changeling.Config{Fast: true}), nil
	}, between, 42)
	abortedBeforeSwap(t, slices.Concat(setup, between), grow, hanging)
}

// abortedBeforeSwap aborts a change whose run was stopped at the cutover: everything is as it was.
func abortedBeforeSwap(t *testing.T, setup []string, ddl string, look func(*testing.T, *sql.DB) []string) {
	t.Helper()
	db := pgtest.Open(t, pgtest.Database(t))
	pgtest.Exec(t, db, setup...)
	want := look(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config := changeling.Config{Fast: true, Events: upon(event.Discard, began("cutover"), cancel)}
	if err := changeling.Apply(ctx, db, ddl, config); !errors.Is(err, changeling.ErrStopped) {
		t.Fatalf("a run whose context ended returned %v, want ErrStopped", err)
	}
	c, err := newest(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameAs(t, look(t, db), want, "after an abort")
}
