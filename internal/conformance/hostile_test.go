package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/changeling-db/changeling"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

// scraps are what hostile names are made of: all that ends a name, a string, a comment or a format somewhere.
var scraps = []string{`"`, `""`, "`", "``", `'`, `''`, `\`, `\'`, `.`, `;`, `--`, `/*`, `*/`, `#`, `$1`, `?`, `$changeling$`, `$$`, `%s`, `%`, `%%`, `{}`, ` `, "\n", "\t",
	`ü`, `表`, `İ`, `MiXed`, `select`, `table`, `changeling_seq`, `changeling_00000000`, `keys_`, `old`, `NEW`, `a`, `d`, `s`, `ctid`, `,`, `(`, `)`, `=`, `:x`, `::int`, `@`, `&`, `<b>`,
	`"; DROP TABLE orders; --`, "`; DROP TABLE orders; -- ", `' OR '1'='1`}

// keywords are names that mean something where they stand bare.
var keywords = []string{"select", "table", "user", "order", "group", "primary", "column", "default", "from", "where", "index", "constraint", "null", "true", "only", "new", "old", "keys", "n", "a", "b", "k", "x", "source", "shadow", "taken", "pending"}

// names makes names that differ from each other.
type names struct {
	random *rand.Rand
	length func(string) int // of a name, as the server counts
	most   int
	used   map[string]bool
}

func (n *names) next() string {
	for {
		var name string
		switch kind := n.random.IntN(10); {
		case kind < 2:
			name = keywords[n.random.IntN(len(keywords))]
		case kind < 4: // as long as a name may be, to the last byte
			for n.length(name) < n.most {
				name += scraps[n.random.IntN(len(scraps))]
			}
			for n.length(name) > n.most {
				_, size := utf8.DecodeLastRuneInString(name)
				name = name[:len(name)-size]
			}
			name += strings.Repeat("z", n.most-n.length(name))
		default:
			for range 1 + n.random.IntN(4) {
				name += scraps[n.random.IntN(len(scraps))]
			}
		}
		if n.length(name) > n.most || strings.HasPrefix(name, "changeling_") || strings.TrimSpace(name) != name || name == "" || name == "ctid" || n.used[folded(name)] {
			continue
		}
		n.used[folded(name)] = true
		return name
	}
}

// folded is the same for names that are one to any server: MySQL looks for columns without regard to case and accents.
func folded(name string) string {
	return strings.NewReplacer("ü", "u", "İ", "i", "i̇", "i").Replace(strings.ToLower(name))
}

// named puts names into a text, at <1>, <2>, and so on.
func named(text string, list []string, mark string) string {
	var pairs []string
	for i, name := range list {
		pairs = append(pairs, fmt.Sprintf("<%d>", i+1), mark+strings.ReplaceAll(name, mark, mark+mark)+mark)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	// What stands between <' and '> is a string constant.
	for {
		before, rest, found := strings.Cut(text, "<'")
		if !found {
			return text
		}
		inside, after, _ := strings.Cut(rest, "'>")
		text = before + "E'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(inside) + "'" + after
	}
}

// everything is a table with all that can have a name. <1> is the owner, <2> and <3> are schemas.
const everything = `
CREATE SCHEMA <2> AUTHORIZATION <1>; CREATE SCHEMA <3> AUTHORIZATION <1>; SET ROLE <1>;
CREATE TABLE <3>.<4> (<5> int CONSTRAINT <6> PRIMARY KEY);
INSERT INTO <3>.<4> SELECT generate_series(1, 5);
CREATE DOMAIN <3>.<7> AS int CONSTRAINT <8> CHECK (VALUE > -7);
CREATE SEQUENCE <2>.<9>;
CREATE TABLE <2>.<10> (<11> bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME <2>.<12>), <13> text, <14> int NOT NULL DEFAULT nextval(<'<2>.<9>'>), <15> int CONSTRAINT <16> REFERENCES <3>.<4>,
  <17> <3>.<7> DEFAULT 1, <18> text GENERATED ALWAYS AS (<13> || 'x') STORED, CONSTRAINT <19> PRIMARY KEY (<13>, <11>), CONSTRAINT <20> UNIQUE (<14>), CONSTRAINT <21> CHECK (<14> > 0));
ALTER SEQUENCE <2>.<9> OWNED BY <2>.<10>.<14>;
CREATE INDEX <22> ON <2>.<10> (lower(<13>)) WHERE <15> > 1;
CREATE STATISTICS <2>.<23> ON <14>, <15> FROM <2>.<10>;
COMMENT ON COLUMN <2>.<10>.<14> IS 'it''s \ %s "of" hers; --';
INSERT INTO <2>.<10> (<13>, <15>) SELECT 'n''"' || i, 1 + i % 5 FROM generate_series(1, 50) i;
CREATE TABLE <3>.<24> (<25> text, <26> bigint, CONSTRAINT <27> FOREIGN KEY (<25>, <26>) REFERENCES <2>.<10> ON DELETE CASCADE);
INSERT INTO <3>.<24> SELECT <13>, <11> FROM <2>.<10> LIMIT 20;
RESET ROLE`

// hostiles is how many tables are made.
func hostiles(few, many int) int {
	if os.Getenv("CHANGELING_FULL") != "" {
		return many
	}
	return few
}

// dice are seeded by CHANGELING_SEED, or by the time.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("CHANGELING_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("CHANGELING_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 17))
}

// TestHostileNames: names that are made to break out of quotes, in every position, run by a role that owns the tables and no
// more. What comes out is what a native ALTER leaves; a key that is written while the change holds is found in it as well.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	random := dice(t)
	for n := range hostiles(4, 60) {
		list := &names{random: rand.New(rand.NewPCG(random.Uint64(), 0)), length: func(s string) int { return len(s) }, most: 63, used: map[string]bool{}}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var all []string
			for range 30 {
				all = append(all, list.next())
			}
			role := all[0]
			admin := pgtest.Open(t, pgtest.Server(t).DSN("postgres"))
			pgtest.Exec(t, admin, named(`CREATE ROLE <1> LOGIN`, all, `"`))
			t.Cleanup(func() {
				if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), named(`DROP ROLE <1>`, all, `"`)); err != nil {
					t.Error(err)
				}
			})
			make := func(database string) *database {
				quoted := pgx.Identifier{database}.Sanitize()
				pgtest.Exec(t, admin, `CREATE DATABASE `+quoted)
				t.Cleanup(func() {
					if _, err := admin.ExecContext(context.WithoutCancel(t.Context()), `DROP DATABASE `+quoted+` WITH (FORCE)`); err != nil {
						t.Error(err)
					}
				})
				d := twinIn(t, database, named(everything, all, `"`))
				pgtest.Exec(t, admin, `GRANT CREATE ON DATABASE `+quoted+named(` TO <1>`, all, `"`))
				d.runner = pgtest.Open(t, as(t, d.dsn, role))
				return d
			}
			native, engine := make(all[28]), make(all[29])
			alter := named([]string{
				`ALTER TABLE <2>.<10> ALTER COLUMN <14> TYPE bigint`,
				`ALTER TABLE <2>.<10> ALTER <15> TYPE bigint USING <15>::bigint, ADD COLUMN <28> text NOT NULL DEFAULT 'q"''', ALTER <13> SET STATISTICS 7`,
				`ALTER TABLE <2>.<10> RENAME CONSTRAINT <21> TO <28>`,
				`ALTER TABLE <2>.<10> DROP CONSTRAINT <20>, ADD CONSTRAINT <28> UNIQUE (<14>, <13>), ALTER COLUMN <11> SET DATA TYPE bigint, ALTER <14> TYPE numeric`,
			}[n%4], all, `"`)
			if err := native.exec(t, alter); err != nil {
				t.Fatalf("natively: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			defer cancel()
			undo(ctx, t, engine.runner, alter) // there and back again
			err := changeling.Apply(ctx, engine.runner, alter, changeling.Config{DropAfter: changeling.DropNow, Fast: true})
			if errors.Is(err, changeling.ErrRefused) {
				t.Fatalf("refused, though the server does it: %v\n%s", err, alter)
			}
			if err != nil {
				t.Fatalf("Apply: %v\n%s", err, alter)
			}
			s := shape{}
			for what, lists := range map[string][2][]string{"rows": {native.rows(t, s), engine.rows(t, s)}, "catalogue": {describe(t, native.db), describe(t, engine.db)}} {
				if d := diff(lists[0], lists[1]); d != "" {
					t.Errorf("%s, - native, + engine:\n%s\nafter %s", what, d, alter)
				}
			}
		})
	}
}

// twinIn fills a database that is there.
func twinIn(t *testing.T, name, setup string) *database {
	t.Helper()
	d := &database{server: pgtest.Server(t), dsn: pgtest.Server(t).DSN(name)}
	d.db = pgtest.Open(t, d.dsn)
	pgtest.Exec(t, d.db, setup)
	return d
}
