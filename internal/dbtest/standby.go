package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
)

// Standby makes a streaming replica of the server, with a directory, a guard and a port of its own, and returns when it
// accepts connections. It needs pg_basebackup of the same major or a newer one, which servers of the cache do not bring.
// Its settings are those of the server, with o's above them.
func (s *Server) Standby(ctx context.Context, o Options) (*Server, error) {
	backup := s.Bin("pg_basebackup")
	if backup == "" {
		return nil, fmt.Errorf("no pg_basebackup for PostgreSQL %d on this machine", s.Major)
	}
	r := &Server{Major: s.Major, install: s.install}
	var err error
	if r.process, err = newProcess(fmt.Sprintf("pg%d-standby", s.Major), s.account, r.kind()); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, backup, "-D", r.dataDir(), "-d", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres application_name=standby", s.Port),
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-password")
	cmd.ExtraFiles = []*os.File{r.guard.pipe} // the guard must not remove a directory that is still being filled
	r.prepare(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pg_basebackup from %s: %w\n%s", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), err, out), r.Stop())
	}
	if err := r.configure(o); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	if err := r.launchAnywhere(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start a standby of PostgreSQL %d: %w", s.Major, err), r.Stop())
	}
	return r, nil
}
