package changeling_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/changeling-db/changeling/internal/fault"
)

// guests are the users of a round. Each of their transactions does the same to the table and to its mirror, and writes its number into
// a book: so what the server keeps of a transaction, it keeps of all three.
type guests struct {
	draft    draft
	place    place
	seed     uint64
	writers  int
	rest     time.Duration // between two transactions of one of them
	diary    *diary
	mayLose  atomic.Bool  // connections, because the server is killed
	barrier  sync.RWMutex // TRUNCATE of two tables is no transaction everywhere
	numbers  atomic.Int64 // of transactions
	fresh    atomic.Int64 // of rows
	mu       sync.Mutex
	acked    []int64
	doubt    map[int64]bool
	void     map[int64]bool
	figures  guestStats
	mistakes []string // what a plain table would not have given
}

// guestStats is what the users met.
type guestStats struct {
	acked, withdrawn, conflicts, lost, doubtful, doubtHappened int64
	longest                                                    time.Duration
	losses                                                     int64 // transactions, rows and errors that should not be
}

func (s *guestStats) add(o guestStats) {
	s.acked += o.acked
	s.withdrawn += o.withdrawn
	s.conflicts += o.conflicts
	s.lost += o.lost
	s.doubtful += o.doubtful
	s.doubtHappened += o.doubtHappened
	s.longest = max(s.longest, o.longest)
	s.losses += o.losses
}

func (s guestStats) String() string {
	return fmt.Sprintf("%d acknowledged, %d withdrawn, %d conflicts, %d lost their connection, %d in doubt of which %d had happened, the longest took %s; LOSSES: %d", s.acked, s.withdrawn, s.conflicts, s.lost,
		s.doubtful, s.doubtHappened, s.longest.Round(time.Millisecond), s.losses)
}

func (c *guests) stats() guestStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.figures
	s.losses += int64(len(c.mistakes))
	return s
}

// mistake notes what must not be. Few are kept, because one makes many.
func (c *guests) mistake(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.diary.note("MISTAKE %s", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mistakes) < 8 {
		c.mistakes = append(c.mistakes, text)
	}
}

// run writes until ctx ends, and returns when every transaction that had begun has ended.
func (c *guests) run(ctx context.Context) {
	steady, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var all sync.WaitGroup
	for no := range c.writers {
		u := &guest{guests: c, no: int64(no), random: rand.New(rand.NewPCG(c.seed, uint64(no)))}
		all.Go(func() {
			defer u.hangUp()
			for ctx.Err() == nil {
				u.once(steady)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(float64(c.rest) * (0.5 + u.random.Float64()))):
				}
			}
		})
	}
	all.Wait()
}

// guest is one user, with a connection that he keeps. Rows whose numbers are his own nobody else writes.
type guest struct {
	*guests
	no     int64
	random *rand.Rand
	conn   *sql.Conn

	tx        int64
	isolation string
	withdraw  bool
}

func (u *guest) hangUp() {
	if u.conn != nil {
		_ = u.conn.Close() // it may be broken
		u.conn = nil
	}
}

// own is a row of his. At READ COMMITTED a statement passes a row by that came to where it looks after it began, and the same statement
// on the mirror, a moment later, does not; so what others write are rows that keep their place.
func (u *guest) own() int64 {
	for {
		n := u.random.Int64N(u.fresh.Load()/int64(u.writers))*int64(u.writers) + u.no
		if !u.common(n) {
			return n
		}
	}
}

// common says that a row is everybody's, and keeps its place until the table is truncated.
func (c *guests) common(n int64) bool { return n < int64(c.draft.rows) && n/int64(c.writers)%3 == 0 }

func (u *guest) everybodys() int64 {
	for {
		if n := u.random.Int64N(int64(u.draft.rows)); u.common(n) {
			return n
		}
	}
}

func (u *guest) any() int64 {
	if u.random.IntN(3) > 0 {
		return u.everybodys()
	}
	return u.own()
}

// new is a number of his that was never used.
func (u *guest) new() int64 {
	w := int64(u.writers)
	for {
		was := u.fresh.Load()
		n := (was/w+1)*w + u.no
		if u.fresh.CompareAndSwap(was, n+1) {
			return n
		}
	}
}

// chaosAct is something that a transaction does.
type chaosAct struct {
	name   string
	weight int
	do     func(ctx context.Context, u *guest) error
}

func chaosActs() []chaosAct {
	return []chaosAct{
		{"insert", 4, func(ctx context.Context, u *guest) error { return u.insert(ctx, u.new()) }},
		{"update", 8, func(ctx context.Context, u *guest) error { return u.update(ctx, u.any()) }},
		{"update some", 2, updateSome},
		{"delete", 2, func(ctx context.Context, u *guest) error { _, err := u.delete(ctx, u.own()); return err }},
		{"replace", 2, replaceOwn},
		{"move", 2, func(ctx context.Context, u *guest) error { _, err := u.moveTo(ctx, u.own(), u.new()); return err }},
		{"swap keys", 2, swapOwnKeys},
		{"swap values", 2, swapOwnValues},
		{"several", 4, severalActs},
		{"savepoint", 2, toSavepoint},
		{"look", 2, look},
	}
}

func (u *guest) pick() chaosAct {
	acts, sum := chaosActs(), 0
	for _, a := range acts {
		sum += a.weight
	}
	n := u.random.IntN(sum)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			return a
		}
	}
	return acts[0]
}

// once runs one transaction and books how it went.
func (u *guest) once(ctx context.Context) {
	u.barrier.RLock()
	defer u.barrier.RUnlock()
	began := time.Now()
	if u.conn == nil {
		conn, err := u.place.users.Conn(ctx)
		if err != nil {
			u.broke(err, "connecting")
			return
		}
		u.conn = conn
	}
	act := u.pick()
	u.tx, u.withdraw = u.numbers.Add(1), u.random.IntN(15) == 0
	levels := u.draft.isolations()
	u.isolation = levels[u.random.IntN(len(levels))]
	slow := u.random.IntN(12) == 0
	replicated := u.draft.realm.replicated() != "" && u.random.IntN(20) == 0
	err := u.begin(ctx, replicated)
	if err == nil {
		err = act.do(ctx, u)
	}
	if err == nil && slow {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(u.random.IntN(150)) * time.Millisecond):
		}
	}
	end := "COMMIT"
	if err != nil || u.withdraw {
		end = "ROLLBACK"
	}
	var endErr error
	if err == nil || !fault.Lost(err) {
		_, endErr = u.conn.ExecContext(ctx, end)
	}
	u.book(act.name, err, endErr, time.Since(began))
}

// begin opens a transaction, and writes its number into the book first.
func (u *guest) begin(ctx context.Context, replicated bool) error {
	texts := u.draft.realm.begin(u.isolation)
	if replicated {
		texts = append(texts, u.draft.realm.replicated())
	}
	for _, text := range append(texts, fmt.Sprintf("INSERT INTO %s VALUES (%d)", u.place.book, u.tx)) {
		if _, err := u.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// broke notes a connection that was lost, or was not to be had.
func (u *guest) broke(err error, when string) {
	u.hangUp()
	if !u.mayLose.Load() {
		u.mistake("a user lost his connection, %s: %v", when, err)
		return
	}
	u.mu.Lock()
	u.figures.lost++
	u.mu.Unlock()
	time.Sleep(50 * time.Millisecond) // the server may be starting
}

// book notes how a transaction ended: err is of its statements, endErr of its COMMIT or ROLLBACK.
func (u *guest) book(what string, err, endErr error, took time.Duration) {
	committing := err == nil && !u.withdraw
	u.mu.Lock()
	u.figures.longest = max(u.figures.longest, took)
	switch {
	case committing && endErr == nil:
		u.figures.acked++
		u.acked = append(u.acked, u.tx)
	case committing && fault.Lost(endErr):
		u.figures.doubtful++
		u.doubt[u.tx] = true
	default:
		u.void[u.tx] = true
		if err == nil && u.withdraw {
			u.figures.withdrawn++
		}
	}
	u.mu.Unlock()
	for _, e := range []error{err, endErr} {
		switch code := fault.Code(e); {
		case e == nil:
		case fault.Lost(e) || fault.Transient(e) && strings.HasPrefix(code, "57"):
			u.broke(e, "in "+what)
		case code == "40001" || code == "40P01":
			u.mu.Lock()
			u.figures.conflicts++
			u.mu.Unlock()
		default:
			u.mistake("a user's transaction failed (%s at %s, transaction %d): %v", what, u.isolation, u.tx, e)
		}
	}
}

// both runs a statement on the table and on its mirror, which must find the same rows.
func (u *guest) both(ctx context.Context, text string) (int64, error) {
	var rows [2]int64
	for i, table := range []string{u.place.table(), u.place.twin()} {
		statement := strings.Replace(text, "%s", table, 1)
		result, err := u.conn.ExecContext(ctx, statement)
		if err != nil {
			return 0, fmt.Errorf("%w\nin: %.500s", err, statement)
		}
		if rows[i], err = result.RowsAffected(); err != nil {
			return 0, err
		}
	}
	if rows[0] != rows[1] {
		u.mistake("transaction %d at %s met %d rows of the table, and %d of its mirror: %.300s", u.tx, u.isolation, rows[0], rows[1], text)
	}
	return rows[0], nil
}

func (u *guest) insert(ctx context.Context, n int64) error {
	_, err := u.both(ctx, u.draft.insert(u.random, n, u.tx))
	return err
}

func (u *guest) update(ctx context.Context, n int64) error {
	_, err := u.both(ctx, "UPDATE %s SET "+u.draft.set(u.random, u.tx)+" WHERE "+u.draft.where(n))
	return err
}

func (u *guest) delete(ctx context.Context, n int64) (int64, error) {
	return u.both(ctx, "DELETE FROM %s WHERE "+u.draft.where(n))
}

// moveTo gives a row a number that is free.
func (u *guest) moveTo(ctx context.Context, n, to int64) (int64, error) {
	return u.both(ctx, u.draft.move(n, to, u.tx))
}

func updateSome(ctx context.Context, u *guest) error {
	var rows []string
	for range 2 + u.random.IntN(20) {
		rows = append(rows, u.draft.where(u.any()))
	}
	_, err := u.both(ctx, "UPDATE %s SET "+u.draft.set(u.random, u.tx)+" WHERE "+strings.Join(rows, " OR "))
	return err
}

// replaceOwn deletes a row and inserts its key again, with its unique value.
func replaceOwn(ctx context.Context, u *guest) error {
	n := u.own()
	value, found, err := u.valueOf(ctx, n)
	if err != nil || !found {
		return err
	}
	if _, err := u.delete(ctx, n); err != nil {
		return err
	}
	// What belongs to a number is taken for a value that the row had, which may be another one's by now.
	text := u.draft.insert(u.random, n, u.tx)
	_, err = u.both(ctx, strings.Replace(text, u.draft.realm.unique(n), quoted(value), 1))
	return err
}

// valueOf locks a row of his, in table and mirror, and answers its unique value.
func (u *guest) valueOf(ctx context.Context, n int64) (value string, found bool, err error) {
	var values [2]sql.NullString
	for i, table := range []string{u.place.table(), u.place.twin()} {
		err := u.conn.QueryRowContext(ctx, "SELECT "+u.draft.realm.text("u")+" FROM "+table+" WHERE "+u.draft.where(n)+" FOR UPDATE").Scan(&values[i])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return "", false, err
		}
	}
	if values[0] != values[1] {
		u.mistake("transaction %d at %s read %v in the table and %v in its mirror, of row %d", u.tx, u.isolation, values[0], values[1], n)
	}
	return values[0].String, values[0].Valid, nil
}

// swapOwnKeys exchanges the keys of two rows by way of a third.
func swapOwnKeys(ctx context.Context, u *guest) error {
	a, b, third := u.own(), u.own(), u.new()
	if a == b {
		return nil
	}
	for _, n := range []int64{a, b} {
		if _, found, err := u.valueOf(ctx, n); err != nil || !found {
			return err
		}
	}
	for _, step := range [][2]int64{{a, third}, {b, a}, {third, b}} {
		if _, err := u.moveTo(ctx, step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

// swapOwnValues exchanges the unique values of two rows.
func swapOwnValues(ctx context.Context, u *guest) error {
	a, b := u.own(), u.own()
	if a == b {
		return nil
	}
	var values [2]string
	for i, n := range []int64{a, b} {
		value, found, err := u.valueOf(ctx, n)
		if err != nil || !found {
			return err
		}
		values[i] = quoted(value)
	}
	for _, step := range []struct {
		n     int64
		value string
	}{{a, u.draft.realm.unique(-u.tx)}, {b, values[0]}, {a, values[1]}} {
		if _, err := u.both(ctx, fmt.Sprintf("UPDATE %%s SET tick = %d, u = %s WHERE %s", u.tx, step.value, u.draft.where(step.n))); err != nil {
			return err
		}
	}
	return nil
}

func severalActs(ctx context.Context, u *guest) error {
	for range 2 + u.random.IntN(6) {
		act := u.pick()
		for act.name == "several" || act.name == "savepoint" {
			act = u.pick()
		}
		if err := act.do(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// toSavepoint does something, takes it back, and does something else.
func toSavepoint(ctx context.Context, u *guest) error {
	if _, err := u.conn.ExecContext(ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	if err := severalActs(ctx, u); err != nil {
		return err
	}
	if _, err := u.conn.ExecContext(ctx, "ROLLBACK TO SAVEPOINT s"); err != nil {
		return err
	}
	return u.update(ctx, u.any())
}

// look reads both tables in one statement.
func look(ctx context.Context, u *guest) error {
	if !u.draft.realm.looks(u.isolation) {
		return nil
	}
	var rows, mirrored, ticks, ticksMirrored int64
	if err := u.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT a.n, b.n, a.x, b.x FROM (SELECT COUNT(*) AS n, COALESCE(SUM(tick), 0) AS x FROM %s) a, (SELECT COUNT(*) AS n, COALESCE(SUM(tick), 0) AS x FROM %s) b",
		u.place.table(), u.place.twin())).Scan(&rows, &mirrored, &ticks, &ticksMirrored); err != nil {
		return err
	}
	if rows != mirrored || ticks != ticksMirrored {
		u.mistake("transaction %d at %s sees %d rows of the table and %d of its mirror; the sums are %d and %d", u.tx, u.isolation, rows, mirrored, ticks, ticksMirrored)
	}
	return nil
}

// settled compares the book with what was acknowledged, when nobody writes any more.
func (c *guests) settled(ctx context.Context) error {
	rows, err := c.place.users.QueryContext(ctx, "SELECT tx FROM "+c.place.book)
	if err != nil {
		return err
	}
	defer rows.Close()
	booked := map[int64]bool{}
	for rows.Next() {
		var tx int64
		if err := rows.Scan(&tx); err != nil {
			return err
		}
		booked[tx] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tx := range c.acked {
		if !booked[tx] {
			c.mistakes = append(c.mistakes, fmt.Sprintf("transaction %d was acknowledged and is not there", tx))
		}
	}
	for _, tx := range slices.Sorted(maps.Keys(c.void)) {
		if booked[tx] {
			c.mistakes = append(c.mistakes, fmt.Sprintf("transaction %d was taken back and is there", tx))
		}
	}
	for tx := range c.doubt {
		if booked[tx] {
			c.figures.doubtHappened++
		}
	}
	return nil
}
