package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// CHANGELING_VERIFY is for how long TestVerification compares a table under load on each server, such as 1h.
const verifyFor = "CHANGELING_VERIFY"

// verifyBrief is for how long it does where nobody says it.
const verifyBrief = time.Second

// TestVerification: what is wrong in a shadow is found, to the bit and to the row, mended, compared again and told, and nothing else is
// ever said to differ, while users write, as fast as the server lets them where a length was given. Then, for as long as asked, `verify` compares the tables
// again and again; now and then a bit is flipped, which it has to find, and is flipped back.
func TestVerification(t *testing.T) {
	t.Parallel()
	length := verifyBrief
	if text := os.Getenv(verifyFor); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s=%q is not a duration such as 1h", verifyFor, text)
		}
	}
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t, major)
			p := newPlanted(t, func() *sql.DB { return pgtest.Open(t, dsn) }, true)
			p.schema = `SELECT nspname FROM pg_namespace WHERE nspname ~ '^changeling_[0-9a-f]+$'`
			p.proves(length)
		})
	}
	mytest.Each(t, func(t *testing.T, version string) {
		captures := []changeling.Capture{changeling.CaptureBinlog, changeling.CaptureTriggers}
		if length == verifyBrief && !full() {
			captures = captures[:1] // which is the harder one: its log lags
		}
		for _, capture := range captures {
			t.Run(string(capture), func(t *testing.T) {
				dsn := mytest.Database(t, version)
				p := newPlanted(t, func() *sql.DB {
					db := mytest.Open(t, dsn)
					db.SetMaxOpenConns(30)
					return db
				}, false)
				p.config.Capture = capture
				if capture == changeling.CaptureBinlog {
					p.config.Binlog = dsn
				}
				p.schema = `SELECT CONCAT('changeling_', id) FROM changeling.chg WHERE table_schema = DATABASE() AND status IN ('running', 'held')`
				p.proves(length / time.Duration(len(captures)))
			})
		}
	})
}

// plantedRows is how many rows there are at first. Rows whose id is a multiple of 8 are the test's own; users write to others.
const plantedRows = 8000

// plant is something wrong in the shadow, which is called %s in the text.
type plant struct {
	what  string
	id    int
	texts []string
	back  string // takes it back; empty: only the engine does
}

// signs says whether the server keeps the sign of zero, which MariaDB before 11 does not.
func (p *planted) signs() (yes bool) {
	p.Helper()
	p.exec(`UPDATE mirror SET zero = '-0' WHERE id = 40`)
	if err := p.db.QueryRowContext(p.Context(), `SELECT ATAN2(zero, -1) < 0 FROM mirror WHERE id = 40`).Scan(&yes); err != nil {
		p.Fatal(err)
	}
	p.exec(`UPDATE mirror SET zero = 0 WHERE id = 40`)
	return yes
}

// plants are one of each kind. MySQL and MariaDB, and PostgreSQL, take the same words for them.
func (p *planted) plants() []plant {
	postgres := p.postgres
	flips := []struct{ column, value, was string }{
		{"amount", "amount + 1", "amount - 1"},      // of an even number
		{"price", "0.50000000000000011e0", "0.5e0"}, // the last of 52 bits
		{"ratio", "0.50000006e0", "0.5e0"},          // the last of 23
		{"exact", "2.0001", "2.0000"},               //
		{"note", "'Note'", "'note'"},                // one bit, and the same to a collation that does not tell cases apart
		{"raw", map[bool]string{true: `'\x0001'`, false: "x'0001'"}[postgres], map[bool]string{true: `'\x0000'`, false: "x'0000'"}[postgres]},
		{"made", "'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00'"},
		{"nothing", "0", "NULL"},
		{"zero", "'-0'", "0.0e0"}, // the sign, which no comparison of numbers sees
	}
	if !p.signs() {
		flips = flips[:len(flips)-1]
	}
	var out []plant
	for i, f := range flips {
		id := 8 * (i + 1) * 50
		text := func(value string) string {
			return fmt.Sprintf(`UPDATE %%s SET %s = %s WHERE id = %d`, f.column, value, id)
		}
		out = append(out, plant{"flipped " + f.column, id, []string{text(f.value)}, text(f.was)})
	}
	all := "amount, price, ratio, exact, note, raw, made, nothing, zero"
	return append(out,
		plant{"missing", 8, []string{`DELETE FROM %s WHERE id = 8`}, ""},
		plant{"doubled under another key", 888888, []string{`INSERT INTO %[1]s (id, ` + all + `) SELECT 888888, ` + all + ` FROM %[1]s WHERE id = 16`}, ""},
		plant{"extra", -8, []string{`INSERT INTO %s (id, amount, note) VALUES (-8, 1, 'extra')`}, ""},
		plant{"two that changed places", 24, []string{`UPDATE %s SET amount = 32 WHERE id = 24`}, ""},
		plant{"two that changed places", 32, []string{`UPDATE %s SET amount = 24 WHERE id = 32`}, ""})
}

// planted is a table whose users write all the time, a mirror of it that the same transactions write to, and a change with a shadow
// in which something is wrong.
type planted struct {
	*testing.T
	open     func() *sql.DB
	db       *sql.DB
	postgres bool
	schema   string // asks for that of the shadow
	ddl      string
	config   changeling.Config
	pace     time.Duration // users rest between two transactions; zero: not at all
	told     story
	written  atomic.Int64
}

func newPlanted(t *testing.T, open func() *sql.DB, postgres bool) *planted {
	t.Helper()
	p := &planted{T: t, open: open, db: open(), postgres: postgres, ddl: `ALTER TABLE orders MODIFY amount bigint NOT NULL`}
	columns := `(id bigint PRIMARY KEY, amount int NOT NULL, price double NULL, ratio float NULL, exact decimal(12, 4) NULL, note varchar(100) NULL, raw varbinary(10) NULL, made datetime(6) NULL, nothing int NULL, zero double NULL)`
	rows := `SELECT i, i, 0.5e0, 0.5e0, 2, 'note', x'0000', '2026-01-01', NULL, 0.0e0 FROM n`
	if postgres {
		p.ddl = `ALTER TABLE orders ALTER COLUMN amount TYPE bigint`
		columns = strings.NewReplacer("double", "double precision", "float", "real", "varbinary(10)", "bytea", "datetime(6)", "timestamp").Replace(columns)
		rows = fmt.Sprintf(`SELECT i, i, 0.5, 0.5, 2, 'note', '\x0000', '2026-01-01', NULL, 0 FROM generate_series(1, %d) i`, plantedRows)
	} else {
		rows = countMy(t, p.db, plantedRows) + strings.TrimPrefix(rows, "SELECT")
	}
	p.exec(`DROP TABLE IF EXISTS orders, mirror`)
	for _, table := range []string{"orders", "mirror"} {
		p.exec(`CREATE TABLE `+table+` `+columns, `INSERT INTO `+table+` `+rows)
	}
	p.config = changeling.Config{Hold: true, Fast: true, DropAfter: changeling.DropNow, Events: event.Tee(p.told.tell, event.Lines(t.Output()))}
	return p
}

func (p *planted) exec(texts ...string) {
	p.Helper()
	for _, text := range texts {
		if _, err := p.db.ExecContext(p.Context(), text); err != nil {
			p.Fatalf("%v\nin: %s", err, text)
		}
	}
}

// write lets four users write until stop is called: no two of them the same rows, and none locks a gap, so that nobody waits and nothing fails.
func (p *planted) write() (stop func()) {
	ctx, cancel := context.WithCancel(p.Context())
	var users sync.WaitGroup
	first := seed(p.T)
	for user := range 4 {
		users.Go(func() {
			random := rand.New(rand.NewPCG(first, uint64(user)))
			own := func() int { return 8*random.IntN(plantedRows/4) + 2*user + 1 } // twice as many as there were at first
			db := p.open()
			for n := 0; ctx.Err() == nil; n++ {
				select {
				case <-ctx.Done():
				case <-time.After(p.pace):
				}
				var err error
				switch a, b := own(), own(); random.IntN(6) {
				case 0:
					err = p.twice(ctx, db, fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, a))
				case 1:
					err = p.twice(ctx, db, fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, a), fmt.Sprintf(`INSERT INTO %%s (id, amount, note, price) VALUES (%d, %d, 'new', 0.1e0)`, a, n))
				case 2: // the key changes
					if a != b {
						err = p.twice(ctx, db, fmt.Sprintf(`DELETE FROM %%s WHERE id = %d`, b), fmt.Sprintf(`UPDATE %%s SET id = %d WHERE id = %d`, b, a))
					}
				default:
					err = p.twice(ctx, db, fmt.Sprintf(`UPDATE %%s SET amount = amount + 1, price = amount / 3e0, note = 'by %d' WHERE id = %d`, n, a))
				}
				if err == nil {
					p.written.Add(1)
				} else if ctx.Err() == nil {
					p.Errorf("a user's transaction failed: %v", err)
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		users.Wait()
	})
}

// twice runs statements on the table and on its mirror, in one transaction.
func (p *planted) twice(ctx context.Context, db *sql.DB, texts ...string) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	for _, text := range texts {
		for _, table := range []string{"orders", "mirror"} {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf(text, table)); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
	}
	return tx.Commit()
}

// shadow is the shadow's name.
func (p *planted) shadow() string {
	p.Helper()
	var schema string
	if err := p.db.QueryRowContext(p.Context(), p.schema).Scan(&schema); err != nil {
		p.Fatal(err)
	}
	return schema + ".orders"
}

func (p *planted) proves(length time.Duration) {
	if length == verifyBrief { // beside other tests
		p.pace = 2 * time.Millisecond
	}
	wrong := p.plants()
	p.config.Events = upon(p.config.Events, began("verify"), func() {
		shadow := p.shadow()
		for _, w := range wrong {
			for _, text := range w.texts {
				p.exec(fmt.Sprintf(text, shadow))
			}
		}
	})
	stop := p.write()
	defer stop()
	e, err := changeling.Open(p.Context(), p.open(), p.config)
	if err != nil {
		p.Fatal(err)
	}
	defer e.Close()
	change, err := e.Start(p.Context(), p.ddl)
	if err != nil {
		p.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- change.Run(p.Context()) }()
	other, err := e.Find(p.Context(), change.ID())
	if err != nil {
		p.Fatal(err)
	}
	reaches(p.T, other, "hold", held)
	p.repaired(wrong)
	passes, rows, found := p.again(other, length)
	if err := other.Cutover(p.Context()); err != nil {
		p.Fatal(err)
	}
	if err := <-end; err != nil {
		p.Fatal(err)
	}
	stop()
	p.equal()
	p.repaired(wrong) // and nothing since
	report, err := other.Report(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	told := 0
	for _, e := range report.Events {
		if strings.Contains(string(e.Event), `"differed"`) {
			told++
		}
	}
	if told == 0 {
		p.Error("the report of the change does not say that rows differed")
	}
	p.Logf("%d transactions of users; %d rows that were wrong were mended, and nothing else; verify: %d times %d rows, %d flipped bits found", p.written.Load(), len(wrong), passes, rows/max(passes, 1), found)
}

// repaired fails the test unless exactly what was planted was found.
func (p *planted) repaired(wrong []plant) {
	p.Helper()
	want := map[string]bool{}
	for _, w := range wrong {
		want[fmt.Sprintf("id %d", w.id)] = true
	}
	var rows, repaired int64
	var keys []string
	p.told.count(func(e event.Event) bool {
		switch e := e.(type) {
		case event.Differed:
			rows += e.Rows
			keys = append(keys, e.Keys...) // ten of each time at most
		case event.Verified:
			repaired = e.Repaired
		}
		return false
	})
	for _, key := range keys {
		if !want[key] {
			p.Errorf("%s was said to differ, and did not", key)
		}
	}
	if rows != int64(len(want)) || repaired != rows {
		p.Errorf("%d rows were found to differ, %d repaired (%q), want the %d that were planted: %q", rows, repaired, keys, len(want), slices.Sorted(maps.Keys(want)))
	}
}

// again compares as a person does who asks for it, for so long. Every third time a bit is flipped.
func (p *planted) again(change *changeling.Change, length time.Duration) (passes, rows int64, found int) {
	p.Helper()
	random := rand.New(rand.NewPCG(seed(p.T), 9))
	shadow := p.shadow()
	all := p.plants()
	all = slices.DeleteFunc(all, func(w plant) bool { return w.back == "" })
	for began, n := time.Now(), 0; n < 2 || time.Since(began) < length; n++ {
		var w plant
		if n%3 == 1 {
			w = all[random.IntN(len(all))]
			p.exec(fmt.Sprintf(w.texts[0], shadow))
		}
		compared, err := change.Verify(p.Context())
		switch {
		case w.id == 0 && err != nil:
			p.Fatalf("after %d comparisons a false alarm: %v", passes, err)
		case w.id != 0 && (!errors.Is(err, changeling.ErrMismatch)):
			p.Fatalf("a bit was flipped (%s, id %d), and Verify = %d, %v", w.what, w.id, compared, err)
		case w.id != 0:
			found++
			p.exec(fmt.Sprintf(w.back, shadow))
			continue
		case compared < plantedRows/2:
			p.Fatalf("Verify compared %d rows", compared)
		}
		passes, rows = passes+1, rows+compared
	}
	return passes, rows, found
}

// equal fails the test where the table is not what its users wrote.
func (p *planted) equal() {
	p.Helper()
	same := "<=>"
	if p.postgres {
		same = "IS NOT DISTINCT FROM"
	}
	var conditions []string
	for _, column := range []string{"amount", "price", "ratio", "exact", "note", "raw", "made", "nothing", "zero"} {
		conditions = append(conditions, fmt.Sprintf("o.%[1]s %[2]s m.%[1]s", column, same))
	}
	var wrong, rows int
	if err := p.db.QueryRowContext(p.Context(), `SELECT (SELECT COUNT(*) FROM mirror m LEFT JOIN orders o ON o.id = m.id WHERE o.id IS NULL OR NOT (`+strings.Join(conditions, " AND ")+`)) +
  (SELECT COUNT(*) FROM orders o LEFT JOIN mirror m ON o.id = m.id WHERE m.id IS NULL), (SELECT COUNT(*) FROM orders)`).Scan(&wrong, &rows); err != nil {
		p.Fatal(err)
	}
	if wrong > 0 || rows == 0 {
		p.Errorf("%d of %d rows are not what users wrote", wrong, rows)
	}
}

// TestVerifyWithoutARun: where the run reads the binary log, nobody can tell rows that are wrong from rows that were written since it
// ended. So that is said, and no row is called wrong; triggers log on, and the comparison goes on.
func TestVerifyWithoutARun(t *testing.T) {
	t.Parallel()
	eachMy(t, func(t *testing.T, dsn string, db *sql.DB) {
		for capture, want := range map[changeling.Capture]error{changeling.CaptureBinlog: changeling.ErrPrecondition, changeling.CaptureTriggers: nil} {
			table := "orders_" + string(capture)
			ddl := `ALTER TABLE ` + table + ` MODIFY amount bigint NOT NULL`
			mytest.Exec(t, db, `CREATE TABLE `+table+` (id int PRIMARY KEY, amount int NOT NULL)`, `INSERT INTO `+table+` VALUES (1, 1), (2, 2), (3, 3)`)
			e, err := changeling.Open(t.Context(), db, changeling.Config{Hold: true, Fast: true, Capture: capture, Binlog: dsn, DropAfter: changeling.DropNow, Lease: 3 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			change, err := e.Start(t.Context(), ddl)
			if err != nil {
				t.Fatal(err)
			}
			run, stop := context.WithCancel(t.Context())
			end := make(chan error, 1)
			go func() { end <- change.Run(run) }()
			other, err := e.Find(t.Context(), change.ID())
			if err != nil {
				t.Fatal(err)
			}
			reaches(t, other, "hold", held)
			stop()
			if err := <-end; !errors.Is(err, changeling.ErrStopped) {
				t.Errorf("%s: the run ended with %v, want ErrStopped", capture, err)
			}
			mytest.Exec(t, db, `UPDATE `+table+` SET amount = 20 WHERE id = 2`, `DELETE FROM `+table+` WHERE id = 3`)
			if _, err := other.Verify(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s: Verify = %v, want %v", capture, err, want)
			}
			go func() { end <- change.Run(t.Context()) }()
			if rows, err := other.Verify(t.Context()); err != nil || rows > 2 {
				t.Errorf("%s: with a run again Verify = %d, %v", capture, rows, err)
			}
			if err := other.Cutover(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-end; err != nil {
				t.Fatal(err)
			}
			var sum int
			if err := db.QueryRow(`SELECT SUM(amount) FROM ` + table).Scan(&sum); err != nil || sum != 21 {
				t.Errorf("%s: sum %d, %v, want 21", capture, sum, err)
			}
		}
	})
}
