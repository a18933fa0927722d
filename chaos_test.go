package changeling_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/mutant"
	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
	"github.com/changeling-db/changeling/plan"
)

// The environment of TestChaos. CHANGELING_CHAOS is how long rounds are begun on each server, such as 10m. CHANGELING_ROUND
// is one round alone, as a failure names it: mysql9.7/123. CHANGELING_SEED is the source of all rounds.
const (
	chaosFor   = "CHANGELING_CHAOS"
	chaosRound = "CHANGELING_ROUND"
)

// chaosBrief is how long rounds are begun where nobody says it. A round that has begun is ended.
const chaosBrief = 20 * time.Second

// TestChaos plays rounds: a random table, a random statement, users who write all the time at all isolation levels, and
// mishaps at random. Every change is made in the end; then the table is, to the last bit of each row, what a mirror of it is that the
// same transactions wrote to and that was altered natively, every acknowledged transaction is there, no user met an error that the
// plain table would not have given him, and nothing is left behind.
//
// A round's number on its server and the seed give its own seed, which gives the table, the statement and the mishaps. What
// the threads make of them is up to the machine.
func TestChaos(t *testing.T) {
	t.Parallel()
	length := chaosBrief
	if text := os.Getenv(chaosFor); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s=%q is not a duration such as 10m", chaosFor, text)
		}
	}
	first := seed(t)
	only, alone, err := namedRound(os.Getenv(chaosRound))
	if err != nil {
		t.Fatal(err)
	}
	if servers := append(pgNames(t), mytest.Versions(t)...); only != "" && !slices.Contains(servers, only) {
		t.Fatalf("%s names %s, and the servers are %v", chaosRound, only, servers)
	}
	wanted := func(name string) bool { return only == "" || only == name }
	play := func(t *testing.T, name string, found func(*testing.T) realm) {
		var all tally
		defer func() { t.Logf("%s: %s", name, &all) }()
		if only != "" {
			all.add(playRound(t, found(t), alone))
			return
		}
		realm := found(t)
		for n, began := uint64(0), time.Now(); n == 0 || time.Since(began) < length && !t.Failed(); n++ {
			all.add(playRound(t, realm, roundSeed(first, name, n)))
		}
		if all.rounds > 10 && all.refused > all.rounds/2 {
			t.Errorf("%d of %d statements were refused: the rounds show little", all.refused, all.rounds)
		}
	}
	for _, major := range pgtest.Majors(t) {
		name := fmt.Sprintf("postgres%d", major)
		if !wanted(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play(t, name, func(t *testing.T) realm { return newPostgres(t, major) })
		})
	}
	for _, version := range mytest.Versions(t) {
		if !wanted(version) {
			continue
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			play(t, version, func(t *testing.T) realm { return newMySQL(t, version) })
		})
	}
}

// TestChaosNotices: with a drain that copies nothing, which the comparison cannot see, a round comes to other rows than its mirror has.
func TestChaosNotices(t *testing.T) {
	t.Parallel()
	realm := newPostgres(t, pgtest.Majors(t)[0])
	var hits atomic.Int64
	realm.mutate = func(_ context.Context, x mutant.Statement) string {
		if !draining(x.Text) {
			return x.Text
		}
		hits.Add(1)
		return "SELECT 0::bigint, 0::bigint, 0::bigint, 0::bigint"
	}
	first := seed(t)
	for n := range uint64(8) {
		r := newRound(t, realm, roundSeed(first, "notices", n))
		r.mishaps, r.undoes = nil, false
		r.config.Route, r.config.Snapshots = plan.ShadowTable, changeling.SnapshotsIgnore // a hand-over drains otherwise
		r.guests.draft.claims = true                                                      // so nobody has an old snapshot
		ctx, cancel := context.WithTimeout(t.Context(), roundBound)
		r.run(ctx)
		cancel()
		if len(r.guests.mistakes) > 0 {
			t.Logf("noticed in round %d: %s", n, r.guests.mistakes[0])
			break
		}
		if n == 7 {
			t.Errorf("nobody notices that nothing is drained, which was tried %d times", hits.Load())
		}
	}
	if hits.Load() == 0 {
		t.Error("the mutant met none of its statements")
	}
}

// TestChaosReproduces: a seed gives the same table, rows, statement and mishaps again, and another one gives others.
func TestChaosReproduces(t *testing.T) {
	t.Parallel()
	drawn := func(on realm, seed uint64) string {
		part := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
		d := on.draw(part(1))
		return fmt.Sprintln(d.create("t"), d.indexes, d.statement("t"), d.rows, d.row(part(0), 7, 0), drawMishaps(part(2)))
	}
	for _, on := range []func() realm{
		func() realm { return &postgresRealm{traits: postgresTraits(), keys: postgresKeys()} },
		func() realm {
			return &mysqlRealm{MySQL: &dbtest.MySQL{Version: "mariadb"}, traits: mysqlTraits(true), keys: mysqlKeys(true)}
		},
	} {
		for n := range uint64(50) {
			seed := roundSeed(1, "any", n)
			if a, b := drawn(on(), seed), drawn(on(), seed); a != b {
				t.Fatalf("seed %d gives\n%s\nand\n%s", seed, a, b)
			}
			if drawn(on(), seed) == drawn(on(), seed+1) {
				t.Errorf("seeds %d and %d give the same", seed, seed+1)
			}
		}
	}
}

// roundSeed is the seed of the n-th round on a server.
func roundSeed(first uint64, name string, n uint64) uint64 {
	h := first
	for _, b := range []byte(name) {
		h = h*1099511628211 + uint64(b)
	}
	return rand.NewPCG(h, n).Uint64() >> 16 // short enough to be read out
}

func pgNames(t *testing.T) (names []string) {
	for _, major := range pgtest.Majors(t) {
		names = append(names, fmt.Sprintf("postgres%d", major))
	}
	return names
}

func namedRound(text string) (name string, seed uint64, err error) {
	if text == "" {
		return "", 0, nil
	}
	name, number, ok := strings.Cut(text, "/")
	if ok {
		seed, err = strconv.ParseUint(number, 10, 64)
	}
	if !ok || err != nil {
		return "", 0, fmt.Errorf("%s=%q is not a server and a seed such as postgres15/123", chaosRound, text)
	}
	return name, seed, nil
}

// tally is what rounds come to.
type tally struct {
	rounds, refused, undone int
	tries                   int
	drawn, met              map[string]int // mishaps by name
	routes                  map[string]int
	guests                  guestStats
	took, longest           time.Duration
}

func (c *tally) add(o tally) {
	c.rounds += o.rounds
	c.refused += o.refused
	c.undone += o.undone
	c.tries += o.tries
	for _, m := range []struct{ to, from *map[string]int }{{&c.drawn, &o.drawn}, {&c.met, &o.met}, {&c.routes, &o.routes}} {
		if *m.to == nil {
			*m.to = map[string]int{}
		}
		for name, n := range *m.from {
			(*m.to)[name] += n
		}
	}
	c.guests.add(o.guests)
	c.took += o.took
	c.longest = max(c.longest, o.took)
}

func (c *tally) String() string {
	met, drawn := 0, 0
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c.drawn)) {
		list = append(list, fmt.Sprintf("%s %d", name, c.met[name]))
		met, drawn = met+c.met[name], drawn+c.drawn[name]
	}
	var routes []string
	for _, name := range slices.Sorted(maps.Keys(c.routes)) {
		routes = append(routes, fmt.Sprintf("%s %d", name, c.routes[name]))
	}
	return fmt.Sprintf("%d rounds (%s; %d refused, %d undone) in %s, the longest %s; %d tries, %d of %d mishaps met (%s); users: %s", c.rounds, strings.Join(routes, ", "), c.refused, c.undone,
		c.took.Round(time.Second), c.longest.Round(time.Second/10), c.tries, met, drawn, strings.Join(list, ", "), c.guests)
}

// roundBound is when a round counts as stuck, roundTries how often a change is tried in it.
const (
	roundBound = 4 * time.Minute
	roundTries = 15
)

// playRound is one round, a subtest that is called like its seed.
func playRound(t *testing.T, on realm, seed uint64) (out tally) {
	out.rounds = 1
	t.Run(fmt.Sprint(seed), func(t *testing.T) {
		began := time.Now()
		r := newRound(t, on, seed)
		defer func() {
			out.took = time.Since(began)
			out.tries, out.guests = r.tries, r.guests.stats()
			out.drawn, out.met = r.drawn, r.met
			out.refused, out.undone = count(r.refused), count(r.undone)
			out.routes = map[string]int{cmp.Or(r.route, "none"): 1}
			line := fmt.Sprintf("%s/%d: %s; %s", on.name(), seed, r.draft.statement("t"), &out)
			if t.Failed() {
				t.Logf("alone: %s=%s/%d go test -run '^TestChaos$' -v .\n%s\n%s\n%s", chaosRound, on.name(), seed, line, r.draft.create("t"), r.account())
				return
			}
			t.Log(line)
		}()
		ctx, cancel := context.WithTimeoutCause(t.Context(), roundBound, errStuck)
		defer cancel()
		defer context.AfterFunc(ctx, func() {
			if context.Cause(ctx) == errStuck {
				t.Errorf("the round is stuck:\n%s\n%s", r.sessions(), stacks())
			}
		})()
		r.play(ctx)
	})
	return out
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// diary is what happened in a round, in its order, for who has to find out why it failed.
type diary struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%8.3f ", time.Since(d.began).Seconds())+fmt.Sprintf(format, args...))
}

func (d *diary) account() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	const most = 400
	return strings.Join(d.lines[max(0, len(d.lines)-most):], "\n")
}
