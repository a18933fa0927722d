package postgres

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/copier"
	"github.com/changeling-db/changeling/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

// pairs are two ends of what texts have to cope with: one plain column, and everything at once.
func pairs() map[string]schema.Pair {
	plain := schema.Operators{Equal: "OPERATOR(pg_catalog.=)", Above: "OPERATOR(pg_catalog.>)", Upto: "OPERATOR(pg_catalog.<=)"}
	pair := func(table string) schema.Pair {
		return schema.Pair{Change: "1f3a9c2e", Table: 4711, Owner: "app",
			Source: schema.Name{Schema: "shop", Table: table}, Shadow: schema.Name{Schema: "changeling_1f3a9c2e", Table: table},
			Old: schema.Name{Schema: "changeling_1f3a9c2e_old", Table: table}, Log: schema.Name{Schema: "changeling_1f3a9c2e", Table: "keys_1f3a9c2e"},
			Checks: schema.Name{Schema: "changeling_1f3a9c2e", Table: "checks_1f3a9c2e"}, Capture: schema.Name{Schema: "changeling_1f3a9c2e", Table: "changeling_1f3a9c2e"}}
	}
	simple := pair("orders")
	simple.Ordered, simple.SameKey = true, true
	simple.Key = []schema.Key{{Source: "id", Shadow: "id", Type: "bigint", ShadowType: "bigint", LogType: "bigint", Ops: plain, ShadowOps: plain}}
	simple.Columns = []schema.Mapped{{Shadow: "id", Type: "bigint", Source: "id", Digest: digest("int8", 1), Image: image("int8")},
		{Shadow: "amount", Type: "numeric", Source: "amount", Converted: true, Digest: digest("numeric", 2), Image: image("numeric")}}
	hostile := pair(`Ord"ers`)
	hostile.Path = `"$user", public`
	hostile.Key = []schema.Key{
		{Source: "Re gion", Shadow: "region", Type: "text", ShadowType: "text", LogType: `text COLLATE pg_catalog."C"`, Ops: plain, ShadowOps: plain},
		{Source: "no", Shadow: "no", Type: "integer", ShadowType: "text", LogType: "integer", Expr: "'n' || no", Ops: plain, ShadowOps: plain}}
	hostile.Columns = []schema.Mapped{{Shadow: "region", Type: "text", Source: "Re gion", Digest: digest("text", 1)},
		{Shadow: "no", Type: "text", Source: "no", Expr: "'n' || no", Converted: true, Digest: digest("text", 2)},
		{Shadow: "at", Type: "timestamp with time zone", Expr: "'2026-01-01'::timestamp with time zone", Digest: digest("timestamptz", 3)}}
	hostile.Kept = []schema.Kept{{Shadow: "token", Expr: "gen_random_uuid()"}}
	return map[string]schema.Pair{"plain": simple, "hostile": hostile}
}

// TestTexts shows all SQL that moves and compares rows, to be read like prose.
func TestTexts(t *testing.T) {
	t.Parallel()
	for name, p := range pairs() {
		w := Rows{Pair: p}
		blocks := copier.Range{After: copier.Key{"99"}, Upto: copier.Key{"199"}}
		keys := copier.Range{After: copier.Key{"1"}, Upto: copier.Key{"9"}}
		if len(p.Key) > 1 {
			keys = copier.Range{After: copier.Key{"eu", "1"}, Upto: copier.Key{"us", "9"}}
		}
		var b strings.Builder
		say := func(title string, statements ...string) {
			fmt.Fprintf(&b, "-- %s\n%s\n\n", title, strings.Join(statements, ";\n"))
		}
		with := func(query string, args []any) string { return fmt.Sprintf("%s -- %v", query, args) }
		say("install capture", installCapture(p, 0)...)
		say("armed", armed(p))
		say("guard, heap, blocks", w.Guard(), w.Heap(), w.Blocks())
		say("copy", w.Copy(blocks))
		say("copy one, places", w.CopyOne("(7,3)"), w.Places(blocks), w.LoggedPlaces())
		say("heal", w.Heal(blocks))
		say("drain some", w.Drain(1000, false))
		say("drain all, to be compared", w.Drain(0, true))
		say("empty", w.Empty()...)
		say("boundary", with(w.Boundary(keys.After, 5000)))
		say("first boundary", with(w.Boundary(nil, 5000)))
		say("compare", with(w.Compare(keys)))
		say("compare the whole", with(w.Compare(copier.Range{})))
		say("counts", w.CompareCounts())
		say("relog", with(w.Relog(keys)))
		say("relog what was drained", w.RelogChecked())
		say("verdict", w.Verdict())
		say("swap", SwapText([]string{"ALTER TABLE a SET SCHEMA b"}, StateText(), p.Change, 11))
		quiet, triggers, rest := Abandon(p)
		say("abandon", append(append(quiet, triggers...), rest...)...)
		file := filepath.Join("testdata", name+".sql")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != b.String() {
			t.Errorf("the texts differ from %s; go test ./internal/postgres -update writes it anew, and git diff shows what changed", file)
		}
	}
}
