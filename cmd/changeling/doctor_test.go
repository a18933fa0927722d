package main

import (
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest"
	"github.com/changeling-db/changeling/internal/dbtest/pgtest"
)

func (s *shell) doctor(code int) map[string][]finding {
	s.t.Helper()
	var list []finding
	if err := json.Unmarshal([]byte(s.run(code, "doctor", "--json").stdout), &list); err != nil {
		s.t.Fatal(err)
	}
	by := map[string][]finding{}
	for _, f := range list {
		by[f.Check] = append(by[f.Check], f)
		if f.Level != "ok" && f.Level != "warn" && f.Level != "fail" || f.Text == "" || f.Level == "fail" && f.Fix == "" || strings.Contains(f.Text, "could not be looked at") {
			s.t.Errorf("finding %+v", f)
		}
	}
	return by
}

func says(list []finding, level, text string) bool {
	for _, f := range list {
		if f.Level == level && strings.Contains(f.Text+" "+f.Fix, text) {
			return true
		}
	}
	return false
}

func TestDoctorOfAHealthyServer(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	by := s.doctor(0)
	for _, check := range []string{"connection", "server", "role", "tables", "statistics", "settings", "connections", "pooler", "transactions", "publications", "changes"} {
		if !says(by[check], "ok", "") {
			t.Errorf("%s is not ok: %+v", check, by[check])
		}
	}
	text := s.run(0, "doctor", "--lock-timeout", "2s")
	contains(t, "doctor", text.stdout, "ok    server", "warn  settings", "deadlock_timeout is 1s and the lock timeout 2s", "Nothing was changed")
	if s.ask(`SELECT to_regnamespace('changeling') IS NULL`) != "true" {
		t.Error("the doctor made a schema")
	}
}

// What the doctor advises is enough: a role that gets it can make a change, and has nothing that fails.
func TestDoctorsAdviceIsEnough(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	suffix := strings.ToLower(rand.Text()[:8])
	runner, owner := "runner_"+suffix, "owner_"+suffix
	admin := pgtest.Open(t, s.dsn)
	pgtest.Exec(t, admin, "CREATE ROLE "+runner+" LOGIN", "CREATE ROLE "+owner, "ALTER TABLE orders OWNER TO "+owner)
	t.Cleanup(func() { s.forget(runner, owner) })
	u, err := url.Parse(s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(runner)
	limited := &shell{t: t, dsn: u.String()}

	by := limited.doctor(4)
	if !says(by["role"], "fail", "GRANT CREATE ON DATABASE") || !says(by["tables"], "fail", "GRANT "+owner+" TO "+runner) || !says(by["statistics"], "warn", "GRANT pg_read_all_stats") {
		t.Errorf("findings of a role without rights: %s", inJSON(t, by))
	}
	contains(t, "doctor", limited.run(4, "doctor").stdout, "fail  role", "-> GRANT CREATE ON DATABASE")
	contains(t, "run without rights", limited.run(4, "run", statementText).stderr, "CREATE on the database", "Nothing was changed")
	for _, list := range by {
		for _, f := range list {
			if strings.HasPrefix(f.Fix, "GRANT ") {
				pgtest.Exec(t, admin, f.Fix)
			}
		}
	}
	by = limited.doctor(0)
	for check, list := range by {
		for _, f := range list {
			if f.Level != "ok" && !says([]finding{f}, "warn", "fsync") {
				t.Errorf("%s after the grants: %+v", check, f)
			}
		}
	}
	limited.run(0, "run", "--drop", "now", statementText)
	if !s.changed() || s.ask(`SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'orders'`) != owner {
		t.Error("the table is not what it should be")
	}
}

// forget drops roles with what they own and may.
func (s *shell) forget(roles ...string) {
	db := pgtest.Open(s.t, s.dsn)
	for _, role := range roles {
		for _, statement := range []string{"DROP OWNED BY " + role + " CASCADE", "DROP ROLE " + role} {
			if _, err := db.Exec(statement); err != nil {
				s.t.Error(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		s.t.Error(err)
	}
}

func TestDoctorSeesWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.orders()
	s.exec(`CREATE PUBLICATION carried FOR TABLE orders`)
	if by := s.doctor(0); !says(by["publications"], "ok", "carried") || len(by["publications"]) != 1 {
		t.Errorf("a publication that a change takes along: %+v", by["publications"])
	}
	s.exec(`CREATE SCHEMA changeling_0badcafe`, `CREATE PUBLICATION everything FOR ALL TABLES`, `ALTER DATABASE "`+s.ask(`SELECT current_database()`)+`" SET session_replication_role = replica`)
	by := s.doctor(0)
	for check, text := range map[string]string{"changes": "changeling_0badcafe", "publications": "everything", "settings": "session_replication_role is replica"} {
		if !says(by[check], "warn", text) {
			t.Errorf("the doctor does not warn of %s: %+v", text, by[check])
		}
	}
	contains(t, "plan of a published table", s.run(3, "plan", statementText).stdout, "publication")
	s.exec(`ALTER DATABASE "` + s.ask(`SELECT current_database()`) + `" SET default_transaction_read_only = on`)
	if by := s.doctor(4); !says(by["server"], "fail", "read_only") {
		t.Errorf("a read-only database is fine: %+v", by["server"])
	}
	pgtest.Exec(t, pgtest.Open(t, s.dsn), `BEGIN READ WRITE; DROP PUBLICATION everything; COMMIT`)
	contains(t, "plan in a read-only database", s.run(4, "plan", "ALTER TABLE orders ALTER COLUMN email TYPE varchar(9)").stderr, "read-only", "primary")
	contains(t, "run in a read-only database", s.run(4, "run", "ALTER TABLE orders ADD COLUMN n int").stderr, "read-only", "primary")
}

// TestDoctorFindsThePooler: and says which connection to take instead.
func TestDoctorFindsThePooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Own(t, dbtest.Options{})
	p, err := server.Pooler(t.Context(), "transaction")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	s := &shell{t: t, dsn: p.DSN("postgres")}
	if by := s.doctor(0); !says(by["pooler"], "warn", "transaction or statement mode") || !says(by["pooler"], "warn", "connect to the server itself") {
		t.Errorf("the doctor says of the pooler: %+v", by["pooler"])
	}
	s.dsn = server.DSN("postgres")
	if by := s.doctor(0); !says(by["pooler"], "ok", "") {
		t.Errorf("the doctor says of no pooler: %+v", by["pooler"])
	}
}
