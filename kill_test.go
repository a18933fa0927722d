package changeling_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/event"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/ledger"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// more makes the victim so large that each step takes a moment.
const more = `INSERT INTO orders (email, amount, tenant, note) SELECT 'f' || i, i, 1 + i % 10, repeat('n', 100) FROM generate_series(1, 20000) i`

// childStop is the step at which a child waits for a line on its standard input, and childDSN makes a process one.
const (
	childDSN  = "CHANGELING_CHILD"
	childStop = "CHANGELING_CHILD_STOP"
)

// beChild is what the child process of a test does instead of tests: it runs a change and tells of each step, as lines that
// begin with @. At the step that it was told to stop at it waits for a line on its standard input.
func beChild(dsn string) error {
	driver, ddl, config, target := "pgx", grow, quick, dsn
	if strings.HasPrefix(dsn, "mysql://") {
		driver, dsn, ddl, config = "mysql", dsn+"?retries=off", myGrow, changeling.Config{Lease: 2 * time.Second}
	}
	if n, err := strconv.Atoi(os.Getenv("CHANGELING_CHILD_LEASE")); err == nil {
		config.Lease = time.Duration(n) * time.Second
	}
	if text := os.Getenv("CHANGELING_CHILD_DDL"); text != "" {
		ddl = text
	}
	if os.Getenv("CHANGELING_CHILD_BINLOG") != "" {
		config.Capture, config.Binlog = changeling.CaptureBinlog, target
	}
	config.Events = func(e event.Event) {
		if s, ok := e.(event.StepStarted); ok {
			fmt.Printf("@step %s\n", s.Name)
			if s.Name == os.Getenv(childStop) {
				_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			}
		}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(20)
	err = changeling.Apply(context.Background(), db, ddl, config)
	fmt.Printf("@end %d %v\n", changeling.Code(err), err)
	return nil
}

// child is a process that runs a change.
type child struct {
	*testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func newChild(t *testing.T, dsn string, env ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{T: t, cmd: exec.Command(self), lines: make(chan string, 1000)}
	c.cmd.Env = append(append(os.Environ(), childDSN+"="+dsn), env...)
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // most are dead by then
		_ = c.cmd.Wait()
	})
	go func() {
		defer close(c.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if after, ok := strings.CutPrefix(lines.Text(), "@"); ok {
				c.lines <- after
			}
		}
	}()
	return c
}

// until reads lines to the one that begins so. It is false if the child ended before.
func (c *child) until(prefix string) (line string, ok bool) {
	c.Helper()
	for timeout := time.After(5 * time.Minute); ; {
		select {
		case line, ok := <-c.lines:
			if !ok || strings.HasPrefix(line, prefix) {
				return line, ok
			}
		case <-timeout:
			c.Fatalf("the child does not say %q", prefix)
		}
	}
}

func (c *child) signal(s syscall.Signal) {
	c.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.Fatal(err)
	}
}

// TestKilledProcess kills a real process with SIGKILL in each step, and runs the change again at once.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 1))
	want := natively(t, more)
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(victim), more)...)
	var steps []string
	config := quick
	config.Events = func(e event.Event) {
		if s, ok := e.(event.StepStarted); ok {
			steps = append(steps, s.Name)
		}
	}
	if err := changeling.Apply(t.Context(), db, grow, config); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 10 {
		t.Errorf("only the steps %v were told", steps)
	}
	if full() {
		steps = slices.Concat(steps, steps, steps, steps)
	} else {
		random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		steps = steps[:4]
	}
	for _, step := range steps {
		delay := time.Duration(random.IntN(30)) * time.Millisecond
		when := fmt.Sprintf("kill -9 %s after the start of step %q", delay, step)
		raze(t, db)
		pgtest.Exec(t, db, append(slices.Clone(victim), more)...)
		c := newChild(t, dsn)
		if _, ok := c.until("step " + step); !ok {
			continue // it has nothing to do, and is not told
		}
		time.Sleep(delay)
		c.signal(syscall.SIGKILL)
		_ = c.cmd.Wait()
		began := time.Now()
		err := changeling.Apply(t.Context(), db, grow, quick)
		if err != nil {
			t.Errorf("%s: the second run: %v", when, err)
			continue
		}
		t.Logf("%s: done by another process in %s", when, time.Since(began).Round(time.Millisecond))
		pgtest.Exec(t, db, between...)
		sameAs(t, portrait(t, db), want, when)
		if took := time.Since(began); took > 25*time.Second { // a lease is 30 s
			t.Errorf("%s: the second run took %s", when, took)
		}
	}
}

// TestFrozenProcess stops a real process for longer than its lease, lets somebody else take its change over, and wakes it
// up: it must see that and write nothing.
func TestFrozenProcess(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	db := pgtest.Open(t, dsn)
	pgtest.Exec(t, db, append(slices.Clone(victim), more)...)
	c := newChild(t, dsn, childStop+"=copy rows", "CHANGELING_CHILD_LEASE=2")
	if _, ok := c.until("step copy rows"); !ok {
		t.Fatal("the child does not copy")
	}
	c.signal(syscall.SIGSTOP)
	config := quick
	config.Hold, config.Lease, config.Owner = true, 2*time.Second, "the second"
	e, err := changeling.Open(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	change, err := e.Start(ctx, grow)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		for {
			err := change.Run(ctx)
			if !errors.Is(err, changeling.ErrOwned) {
				done <- err
				return
			}
		}
	}()
	status := reaches(t, change, "hold", held)
	t.Logf("taken over and ready %s after the first process stood still, whose lease was 2s; it had stood at %s", time.Since(began).Round(time.Millisecond), status.Step)
	const memory = `SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM (SELECT c::text FROM changeling.change c UNION ALL SELECT k::text FROM changeling.chunk k UNION ALL SELECT l::text FROM changeling.claim l) x`
	var before, after string
	if err := db.QueryRowContext(ctx, memory).Scan(&before); err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGCONT)
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
	line, ok := c.until("end ")
	if !ok || !strings.HasPrefix(line, "end 9 ") {
		t.Errorf("the process that woke up ended with %q, want code 9: somebody else has the change", line)
	}
	if err := db.QueryRowContext(ctx, memory).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("the process that woke up wrote to the state of a change that is not its own any more")
	}
	if err := change.Cutover(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, between...)
	sameAs(t, portrait(t, db), natively(t, more), "after a takeover")
}

// TestServerCrashes kills the server in one phase of a change after the other. The run and the users ride it out.
func TestServerCrashes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(seed(t), 2))
	server := pgtest.Own(t, dbtest.Options{})
	s := newStage(t, server.DSN("postgres"), ledger.Options{Seed: random.Uint64(), Rows: 60_000, Rate: 300})
	s.config.ChunkTime = 10 * time.Millisecond
	phases := []func(event.Event) bool{progressed("copy"), began("heal"), began("build"), began("drain"), began("verify"), began("cutover")}
	crash := make(chan struct{})
	var mu sync.Mutex
	tell := s.config.Events
	s.config.Events = func(e event.Event) {
		tell(e)
		mu.Lock()
		defer mu.Unlock()
		if len(phases) > 0 && phases[0](e) {
			phases = phases[1:]
			crash <- struct{}{}
		}
	}
	delays := rand.New(rand.NewPCG(random.Uint64(), 0))
	crashes := 0
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range crash {
			time.Sleep(time.Duration(delays.IntN(40)) * time.Millisecond)
			if err := server.Kill(); err != nil {
				t.Error(err)
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Error(err)
			}
			crashes++
		}
	}()
	stop := s.write()
	err := s.apply()
	close(crash)
	<-over
	if err != nil {
		t.Fatal(err)
	}
	s.pause(200 * time.Millisecond)
	stop()
	for alive := 0; alive < 30; { // the pools have dead connections
		if alive++; s.db.PingContext(t.Context()) != nil {
			alive = 0
		}
	}
	s.changed()
	t.Logf("%d crashes of the server; %s; users: %s", crashes, s.figures(), s.ledger.Stats())
	if crashes < 5 {
		t.Errorf("the server was killed %d times, want at least 5: %d phases were not met", crashes, len(phases))
	}
}

// TestUnloggedShadow: a server that crashes empties unlogged tables. A shadow that was emptied is no copy any more, though
// the change remembers that it was copied and compared.
func TestUnloggedShadow(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"copy", "hold"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Own(t, dbtest.Options{})
			db := pgtest.Open(t, server.DSN("postgres"))
			pgtest.Exec(t, db, `CREATE TABLE orders (id int PRIMARY KEY, note text)`, `INSERT INTO orders SELECT i, 'n' FROM generate_series(1, 50000) i`, `CHECKPOINT`)
			crash := func() {
				if err := server.Kill(); err != nil {
					t.Error(err)
				}
				if err := server.Restart(t.Context()); err != nil {
					t.Error(err)
				}
			}
			var s story
			config := changeling.Config{Hold: phase == "hold", Events: s.tell, ChunkTime: time.Millisecond}
			if phase == "copy" {
				config.Events = upon(config.Events, progressed("copy"), crash)
			}
			e, err := changeling.Open(t.Context(), db, config)
			if err != nil {
				t.Fatal(err)
			}
			change, err := e.Start(t.Context(), `ALTER TABLE orders SET UNLOGGED`)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- change.Run(t.Context()) }()
			if phase == "hold" {
				if err := s.await(t.Context(), holding); err != nil {
					t.Fatal(err)
				}
				crash()
				time.Sleep(300 * time.Millisecond)
				for change.Cutover(t.Context()) != nil { // the pool has dead connections
				}
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			var rows int
			var kind string
			if err := db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM orders), (SELECT relpersistence FROM pg_class WHERE oid = 'orders'::regclass)`).Scan(&rows, &kind); err != nil {
				t.Fatal(err)
			}
			if rows != 50000 || kind != "u" {
				t.Errorf("%d rows in a table of persistence %s, want 50000 and u", rows, kind)
			}
			if s.count(differed) > 0 {
				t.Error("rows were lost and found again by the verification alone")
			}
		})
	}
}
