package changeling_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// What the engine sends, by its text. A mutant whose statement is never seen fails its test, so a text that moves on does
// not turn a test into none.
var (
	capturing  = matching(`^CREATE TABLE "changeling_\w+"\."keys_`) // the first of its transaction
	guarding   = matching(`^LOCK TABLE ONLY .* IN ACCESS SHARE MODE$`)
	asksHeap   = matching(`^SELECT coalesce\(pg_catalog.pg_relation_filenode\(`)
	copying    = matching(`^INSERT INTO "changeling_.* WHERE .*ctid >= `)
	healing    = matching(`^DELETE FROM "changeling_.* WHERE d\.ctid >= .* AND EXISTS `)
	draining   = matching(`^WITH taken AS MATERIALIZED \(DELETE FROM `)
	comparing  = matching(`^WITH pending AS .* SELECT c\.n, '0', c\.n, c\.differ`)
	rechecking = matching(`^WITH pending AS .* keys AS \(DELETE FROM `)
	asksWho    = matching(`FROM pg_catalog\.pg_locks l LEFT JOIN pg_catalog\.pg_stat_activity`)
	locking    = matching(`LOCK TABLE .* IN ACCESS EXCLUSIVE MODE`)
	judging    = matching(`^SELECT \(SELECT coalesce\(pg_catalog.md5\(.*tgenabled = 'A'`)
	fencing    = matching(`FROM changeling\.claim WHERE change_id \S+ \$1::text AND token \S+ \$2::bigint FOR SHARE`)
)

func matching(pattern string) func(string) bool {
	re := regexp.MustCompile(`(?s)` + pattern)
	return re.MatchString
}

// scene is a small table, a mirror of it that all its users write to in the same transactions, and a change whose
// statements can be held and rewritten. In the end table and mirror must be equal.
type scene struct {
	*testing.T
	dsn   string
	db    *sql.DB // of the users
	pool  *sql.DB // of the engine
	story story

	ddl    string
	config changeling.Config
	change *changeling.Change

	mu     sync.Mutex
	gates  []*gate
	armed  bool // gates count what a run sends, and not what the planner tries
	mutate func(ctx context.Context, s mutant.Statement) string
	blind  bool          // the engine's own verification sees nothing
	frozen chan struct{} // while it is not nil and open, nothing is sent
	hits   atomic.Int64

	cancel context.CancelFunc
	done   chan error
}

// gate holds the n-th statement that matches, and everything behind it on its connection.
type gate struct {
	match   func(string) bool
	n       int
	reached chan struct{}
	opened  chan struct{}
}

const sceneRows = 4000 // about 130 blocks, and so at least two chunks

func newScene(t *testing.T) *scene {
	t.Helper()
	dsn := pgtest.Database(t)
	s := &scene{T: t, ddl: widen, dsn: dsn, db: pgtest.Open(t, dsn), mutate: func(_ context.Context, s mutant.Statement) string { return s.Text }}
	s.pool = pgtest.Mutant(t, dsn, s.rewrite)
	s.config = changeling.Config{Events: s.story.tell}
	for _, table := range []string{"accounts", "mirror"} {
		pgtest.Exec(t, s.db,
			`CREATE TABLE `+table+` (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL, payload text NOT NULL)`,
			fmt.Sprintf(`INSERT INTO %s SELECT i, 'e' || i, i, repeat('x', 200) FROM generate_series(1, %d) i`, table, sceneRows))
	}
	s.both(`DELETE FROM accounts WHERE id BETWEEN 3600 AND 3800`)
	pgtest.Exec(t, s.db, `VACUUM (ANALYZE) accounts`) // so that rows that grow move to the blocks of these
	return s
}

func (s *scene) rewrite(ctx context.Context, x mutant.Statement) string {
	s.mu.Lock()
	var hold *gate
	for _, g := range s.gates {
		if s.armed && g.match(x.Text) {
			if g.n--; g.n == 0 {
				hold = g
			}
		}
	}
	s.mu.Unlock()
	if hold != nil {
		close(hold.reached)
		select {
		case <-hold.opened:
		case <-ctx.Done():
		case <-s.Context().Done():
		}
	}
	s.mu.Lock()
	frozen := s.frozen
	s.mu.Unlock()
	if frozen != nil {
		<-frozen // a process that stands still does not know that its context ended
	}
	text := s.mutate(ctx, x)
	if text != x.Text {
		s.hits.Add(1)
	}
	if s.blind {
		text = unseeing(text)
	}
	return text
}

// unseeing makes the verification find everything in order.
func unseeing(text string) string {
	switch {
	case comparing(text):
		out := "SELECT 0::bigint, '0', 0::bigint, '0', false"
		for i := 1; strings.Contains(text, fmt.Sprintf("$%d::", i)); i++ {
			out += fmt.Sprintf(" %s $%d::text IS NOT NULL", map[bool]string{true: "WHERE", false: "AND"}[i == 1], i)
		}
		return out
	case rechecking(text):
		return "SELECT 0::bigint, 0::bigint, '[]', false"
	}
	return text
}

// at makes a gate for the n-th statement that matches. It must be made before the engine gets there.
func (s *scene) at(match func(string) bool, n int) *gate {
	g := &gate{match: match, n: n, reached: make(chan struct{}), opened: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates = append(s.gates, g)
	return g
}

func (g *gate) open() { close(g.opened) }

// until waits for the engine to arrive, or to end without having come by.
func (s *scene) until(g *gate) {
	s.Helper()
	select {
	case <-g.reached:
	case err := <-s.done:
		s.Fatalf("the change ended before its gate: %v", err)
	case <-time.After(5 * time.Minute):
		s.Fatal("the change does not arrive at its gate")
	}
}

// on lets users act at the first event that matches. The engine waits for its sink, and so for them.
func (s *scene) on(match func(event.Event) bool, act func()) {
	s.config.Events = upon(s.config.Events, match, act)
}

// start runs the change beside the test.
func (s *scene) start() {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	s.cancel = cancel
	s.Cleanup(cancel)
	if s.change == nil {
		e, err := changeling.Open(ctx, s.pool, s.config)
		if err != nil {
			s.Fatal(err)
		}
		if s.change, err = e.Start(ctx, s.ddl); err != nil {
			s.Fatal(err)
		}
	}
	s.mu.Lock()
	s.armed = true
	s.mu.Unlock()
	s.done = make(chan error, 1)
	go func(done chan<- error) { done <- s.change.Run(ctx) }(s.done)
}

func (s *scene) held() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	defer cancel()
	if err := s.story.await(ctx, holding); err != nil {
		s.Fatalf("the change does not hold: %v", err)
	}
}

// verdict is how a change ended.
type verdict struct {
	err      error
	wrong    []string // keys where table and mirror differ
	differed int      // how often the verification found a difference
}

// caught says whether anything showed that something was wrong.
func (v verdict) caught() bool { return v.err != nil || v.differed > 0 || len(v.wrong) > 0 }

func (v verdict) String() string {
	return fmt.Sprintf("error %v; verification found %d differences; rows wrong in the end: %v", v.err, v.differed, v.wrong)
}

// finish waits for the end of the change and compares.
func (s *scene) finish() verdict {
	s.Helper()
	v := verdict{}
	select {
	case v.err = <-s.done:
	case <-time.After(5 * time.Minute):
		s.Fatal("the change does not end")
	}
	v.differed = s.story.count(differed)
	rows, err := s.db.QueryContext(s.Context(), `SELECT coalesce(a.id, m.id) FROM accounts a FULL JOIN mirror m USING (id)
WHERE (a.email, a.amount::bigint, a.payload) IS DISTINCT FROM (m.email, m.amount::bigint, m.payload) ORDER BY 1 LIMIT 5`)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			s.Fatal(err)
		}
		v.wrong = append(v.wrong, id)
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return v
}

// user is a transaction of a user.
type user struct {
	scene *scene
	tx    *sql.Tx
}

func (s *scene) begin() user {
	s.Helper()
	tx, err := s.db.BeginTx(s.Context(), nil)
	if err != nil {
		s.Fatal(err)
	}
	return user{s, tx}
}

// both runs statements on the table and on its mirror.
func (u user) both(statements ...string) {
	u.scene.Helper()
	for _, statement := range statements {
		pgtest.Exec(u.scene, u.tx, statement, strings.ReplaceAll(statement, "accounts", "mirror"))
	}
}

func (u user) commit() {
	u.scene.Helper()
	if err := u.tx.Commit(); err != nil {
		u.scene.Fatal(err)
	}
}

func (s *scene) both(statements ...string) {
	s.Helper()
	u := s.begin()
	u.both(statements...)
	u.commit()
}

// cut lets a change that holds go on.
func (s *scene) cut() {
	s.Helper()
	if err := s.change.Cutover(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// waiting polls until a query answers true.
func (s *scene) waiting(query string) {
	s.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ; <-tick.C {
		var yes bool
		if err := s.db.QueryRowContext(s.Context(), query).Scan(&yes); err != nil {
			s.Fatal(err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not true after 3 min: %s", query)
		}
	}
}
