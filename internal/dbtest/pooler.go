package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Pooler is a PgBouncer before a server.
type Pooler struct {
	*process
	server *Server
}

// Pooler starts a PgBouncer before the server, in a mode of its pools: session, transaction or statement. It needs the program
// that scripts/setup.sh brings.
func (s *Server) Pooler(ctx context.Context, mode string) (*Pooler, error) {
	program := ""
	for _, cache := range caches() {
		if path := filepath.Join(cache, "pgbouncer", "bin", "pgbouncer"); s.account.reaches(filepath.Dir(path)) && executable(path) {
			program = path
		}
	}
	if program == "" {
		return nil, fmt.Errorf("PgBouncer is missing: searched %s; `scripts/setup.sh pooler` brings it", strings.Join(caches(), ", "))
	}
	p := &Pooler{server: s}
	k := kind{name: "PgBouncer", disposable: true, goodbye: []goodbye{{syscall.SIGQUIT, time.Second}},
		command: func() []string {
			text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n"+
				"pool_mode = %s\nmax_client_conn = 500\ndefault_pool_size = 20\nignore_startup_parameters = extra_float_digits\n", s.Port, p.Port, mode)
			path := filepath.Join(p.dir, "pgbouncer.ini")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return []string{"/bin/sh", "-c", "echo " + strconv.Quote(err.Error()) + "; exit 1"}
			}
			return []string{program, path}
		},
		ready: func(int) bool {
			c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)), time.Second)
			if err == nil {
				c.Close()
			}
			return err == nil
		}}
	var err error
	if p.process, err = newProcess("pgbouncer", s.account, k); err != nil {
		return nil, err
	}
	if err := p.launchAnywhere(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start PgBouncer: %w", err), p.Stop())
	}
	return p, nil
}

// DSN returns the URL of a database behind the pooler.
func (p *Pooler) DSN(database string) string {
	u, err := url.Parse(p.server.DSN(database))
	if err != nil {
		panic(err) // the server wrote it
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port))
	return u.String()
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
