package proxy_test

import (
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/internal/dbtest/proxy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestMoments: the client gets an error each time; what the server did differs.
func TestMoments(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, `CREATE TABLE t (n int)`)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for moment, want := range map[proxy.Moment]int{proxy.Before: 0, proxy.Behind: 1, proxy.After: 1} {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			p, err := proxy.Listen(u.Host, proxy.Cut{At: 1, Moment: moment, Text: "INSERT"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			pgtest.Exec(t, db, `TRUNCATE t`)
			through := *u
			through.Host = p.Addr()
			conn, err := pgx.Connect(t.Context(), through.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			if _, err := conn.Exec(t.Context(), `SELECT 1; INSERT INTO t VALUES (1)`); err == nil {
				t.Error("the statement that was cut has no error")
			}
			if err := p.Close(); err != nil { // waits until the server has hung up
				t.Error(err)
			}
			var rows int
			if err := db.QueryRow(`SELECT count(*) FROM t`).Scan(&rows); err != nil || rows != want {
				t.Errorf("the server has %d rows (%v), want %d", rows, err, want)
			}
			if text, done := p.Done(); !done || text == "" || p.Count() != 1 {
				t.Errorf("Done = %q, %v after %d requests", text, done, p.Count())
			}
		})
	}
}
