package changeling_test

import (
	"context"
	"errors"
	"testing"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// TestConversionsFollowTheSessionThatPlanned: a conversion means what it would mean in a native ALTER of the session that
// asked for it, although another session finishes the change.
func TestConversionsFollowTheSessionThatPlanned(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	asked := pgtest.Open(t, dsn+"&timezone=America/New_York&datestyle=SQL%2CDMY")
	pgtest.Exec(t, asked, `CREATE TABLE events (id int PRIMARY KEY, day text, at timestamp, stamp timestamptz)`,
		`INSERT INTO events VALUES (1, '03/02/2026', '2026-07-01 12:00', '2026-07-01 12:00+00'), (2, '04/02/2026', '2026-01-01 12:00', '2026-01-01 12:00+00')`,
		`CREATE TABLE native (LIKE events INCLUDING ALL)`, `INSERT INTO native SELECT * FROM events`)
	const ddl = ` ALTER COLUMN day TYPE date USING day::date, ALTER COLUMN at TYPE timestamptz, ALTER COLUMN stamp TYPE text`
	pgtest.Exec(t, asked, `ALTER TABLE native`+ddl)

	e, err := changeling.Open(t.Context(), asked, changeling.Config{Hold: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Start(t.Context(), `ALTER TABLE events`+ddl)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- c.Run(ctx) }()
	reaches(t, found(t, e, c.ID()), "hold", held)
	stop()
	if err := <-end; !errors.Is(err, changeling.ErrStopped) {
		t.Fatalf("the run ended with %v, want ErrStopped", err)
	}
	// Rows that change meanwhile are converted by the session that goes on.
	other := pgtest.Open(t, dsn+"&timezone=Asia/Tokyo")
	pgtest.Exec(t, other, `UPDATE events SET day = '05/02/2026' WHERE id = 2`)
	pgtest.Exec(t, asked, `UPDATE native SET day = '05/02/2026' WHERE id = 2`)
	e, err = changeling.Open(t.Context(), other, changeling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := found(t, e, c.ID()).Cutover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := found(t, e, c.ID()).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var differing int
	if err := asked.QueryRow(`SELECT count(*) FROM (TABLE events EXCEPT TABLE native) d`).Scan(&differing); err != nil || differing != 0 {
		t.Errorf("%d rows differ from the native ALTER's, %v", differing, err)
	}
}

func found(t *testing.T, e *changeling.Engine, id string) *changeling.Change {
	t.Helper()
	c, err := e.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
