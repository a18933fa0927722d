package changeling

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/changeling-db/changeling/internal/mysql"
)

// Clocks jump. A run counts by its own, which goes on evenly whoever sets the machine's; leases count by the database's, and look
// twice. Where only the server knows how old something of somebody else's is, its clock is compared with the run's.

// clock is the run's own. It is never zero, which stands for never.
func (r *run) clock() int64 { return int64(time.Since(r.born)) + 1 }

// since is how long ago it was that by the clock.
func (r *run) since(at int64) time.Duration {
	if at == 0 {
		return math.MaxInt64
	}
	return time.Duration(r.clock() - at)
}

// watch compares a server's clock with the run's.
type watch struct {
	mu     sync.Mutex
	server time.Duration // what it said last
	own    int64         // when that was, by the run's clock; zero: it was not asked yet
	back   time.Duration // by how much it was set back
	set    int64         // and when that was noticed
}

// slack is by how much two clocks may differ that nobody set: what a question takes, and what they drift apart.
func slack(elapsed time.Duration) time.Duration { return time.Second + elapsed/1000 }

// told takes what the server's clock says now.
func (w *watch) told(server time.Duration, now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.own != 0 {
		elapsed := time.Duration(now - w.own)
		if back := elapsed - (server - w.server); back > slack(elapsed) {
			w.back, w.set = w.back+back, now
		}
	}
	w.server, w.own = server, now
}

// age is how old a transaction may be of which the server says how old it is.
func (w *watch) age(said time.Duration, now int64) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if said <= -time.Second { // nobody knows by how much
		return long
	}
	if w.back == 0 || time.Duration(now-w.set) > said+w.back { // it began after the clock was set
		return said
	}
	return said + w.back
}

// watchServer asks for the server's clock, on a connection on which times are the server's.
func (r *run) watchServer(ctx context.Context, conn oneSession) error {
	var micros int64
	if err := conn.QueryRowContext(ctx, mysql.Clock).Scan(&micros); err != nil {
		return err
	}
	r.server.told(time.Duration(micros)*time.Microsecond, r.clock())
	return nil
}

// glance asks for the server's clock between two steps, and now and then where one takes long. Not to be answered is no matter.
func (r *run) glance(ctx context.Context) {
	if r.engine.dialect.Transactional() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	conn, err := r.engine.db.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, mysql.SystemTime()); err == nil {
		_ = r.watchServer(ctx, conn)
	}
}
