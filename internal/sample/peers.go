package sample

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"time"
)

// Percona makes the change of a round on a table with pt-online-schema-change, with its own defaults (MySQL and MariaDB).
func (s *Server) Percona(ctx context.Context, table string, round int) (time.Duration, error) {
	at, err := url.Parse(s.DSN)
	if err != nil {
		return 0, err
	}
	clause := strings.TrimPrefix(s.Statement(round), "ALTER TABLE orders ")
	return timed(ctx, "pt-online-schema-change", "--execute", "--alter", clause, "--recursion-method=none",
		fmt.Sprintf("h=%s,P=%s,u=root,D=%s,t=%s", at.Hostname(), at.Port(), strings.Trim(at.Path, "/"), table))
}

// Repack writes a table anew with pg_repack, with its own defaults (PostgreSQL). It cannot change a type; it copies, logs and swaps as a
// change does.
func (s *Server) Repack(ctx context.Context, table string) (time.Duration, error) {
	at, err := url.Parse(s.DSN)
	if err != nil {
		return 0, err
	}
	return timed(ctx, "pg_repack", "--host", at.Hostname(), "--port", at.Port(), "--username", at.User.Username(), "--dbname", strings.Trim(at.Path, "/"), "--no-password", "--table", table)
}

func timed(ctx context.Context, name string, args ...string) (time.Duration, error) {
	began := time.Now()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return time.Since(began), nil
}
