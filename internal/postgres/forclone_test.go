package postgres

import "testing"

func TestForCloneKeepsEverythingElse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want string
		short    bool
	}{
		{in: `USING App.t.a + app . "t" . b`, want: `USING t.a + "t" . b`},
		{in: `'app.t.a' || "app.t.a" || app.t2.a /* app.t.a */`, want: `'app.t.a' || "app.t.a" || app.t2.a /* app.t.a */`},
		{in: `ADD FOREIGN KEY (p) REFERENCES app.t (id) ON DELETE CASCADE`, want: `ADD FOREIGN KEY (p) REFERENCES "in"."t" (id) ON DELETE CASCADE`},
		{in: `ADD p int references t`, want: `ADD p int references "in"."t" `, short: true},
		{in: `ADD p int references t(id), ADD q int REFERENCES other.t`, want: `ADD p int references "in"."t" (id), ADD q int REFERENCES other.t`, short: true},
		{in: `ADD p int references t`, want: `ADD p int references t`},
		{in: `ADD "references" t`, want: `ADD "references" t`, short: true},
	} {
		if got := forClone(c.in, &Relation{Schema: "app", Name: "t"}, "in", c.short, nil); got != c.want {
			t.Errorf("forClone(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}
