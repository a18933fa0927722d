package backfill

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/changeling-db/changeling/event"
)

// How far a job is, is how many rows it has gone past of those that it will: what it has passed was counted, batch by batch, and
// what is to come the server estimates from its statistics of the key. So gaps between keys, and keys without an order that
// anybody could foresee, do not mislead it (B12).

// Share is how much of its range a job has gone through, from 0 to 1.
func (s *Status) Share() float64 {
	switch {
	case s.Status == "done":
		return 1
	case s.Total <= 0:
		return 0
	}
	return min(float64(s.Seen)/float64(s.Total), 1)
}

// Remaining is about how long a job has to work until its end, at the pace that it had until now; zero: that is not known, or
// it is over. Times in which it may not work are not in it.
func (s *Status) Remaining() time.Duration {
	if s.Over() || s.Seen <= 0 || s.Total <= s.Seen {
		return 0
	}
	return time.Duration(float64(s.Busy) * float64(s.Total-s.Seen) / float64(s.Seen)).Round(time.Second)
}

// pace is what a run knows of its own progress.
type pace struct {
	seen, total int64
	since       time.Time // when the batch before ended
	estimated   time.Time
}

// again is how often the rows to come are estimated.
const again = 10 * time.Second

// estimate asks how many rows there are to come, now and then. Without an answer the estimate stays what it was.
func (w *walk) estimate(ctx context.Context) {
	if time.Since(w.pace.estimated) < again {
		return
	}
	w.pace.estimated = time.Now()
	rest, err := w.rest(ctx)
	if err == nil {
		w.pace.total = w.pace.seen + rest
	}
}

// rest is about how many rows there are behind the position.
func (w *walk) rest(ctx context.Context) (int64, error) {
	within, err := w.between(w.after, w.upto)
	if err != nil {
		return 0, err
	}
	if w.mysql {
		return w.dive(ctx, within)
	}
	var known bool
	if err := w.db.QueryRowContext(ctx, w.text.Analyzed, w.table, w.keys[0].plain).Scan(&known); err != nil {
		return 0, err
	}
	if known {
		node, err := w.planned(ctx, w.db, "", "SELECT 1 FROM "+w.table+" WHERE "+within)
		return int64(node.Rows), err
	}
	// Nothing is known of the keys, so the size of the table has to do.
	node, err := w.planned(ctx, w.db, "", "SELECT 1 FROM "+w.table)
	return max(int64(node.Rows)-w.pace.seen, 0), err
}

// dive is rest on MySQL and MariaDB: what the optimizer finds by a look into the index. It takes no range for more than half of the
// table, so where much is to come the size of the table counts.
func (w *walk) dive(ctx context.Context, within string) (int64, error) {
	var found [2]int64
	// MySQL does not look into an index that it is forced to take.
	for i, query := range []string{"SELECT 1 FROM " + w.table + " USE INDEX (PRIMARY) WHERE " + within, "SELECT 1 FROM " + w.table} {
		row, err := w.explain(ctx, w.db, query)
		if err == nil {
			found[i], err = strconv.ParseInt(row["rows"], 10, 64)
		}
		if err != nil {
			return 0, err
		}
	}
	near, whole := found[0], found[1]
	if 4*near < whole {
		return near, nil
	}
	return max(near, whole-w.pace.seen), nil
}

// asker is a pool or a transaction.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// node is what PostgreSQL says of a plan: its top, and how the lowest table in it is read.
type node struct {
	Rows     float64 // as estimated
	Actual   float64 // as they were, where it was run
	Scan     string  // "Index Scan"
	Index    string
	WALBytes int64
	Took     time.Duration
	Triggers []struct {
		Name  string  `json:"Trigger Name"`
		Time  float64 `json:"Time"`
		Calls int64   `json:"Calls"`
	}
}

// planned asks PostgreSQL how it does a statement, with further options of EXPLAIN.
func (w *walk) planned(ctx context.Context, db asker, options, statement string) (out node, err error) {
	type scan struct {
		Type     string  `json:"Node Type"`
		Index    string  `json:"Index Name"`
		Rows     float64 `json:"Plan Rows"`
		Actual   float64 `json:"Actual Rows"`
		WALBytes int64   `json:"WAL Bytes"`
		Plans    []*scan
	}
	var answer []struct {
		Plan     *scan
		Took     float64 `json:"Execution Time"`
		Triggers json.RawMessage
	}
	var text string
	if err := db.QueryRowContext(ctx, "EXPLAIN ("+options+"FORMAT JSON) "+statement).Scan(&text); err != nil {
		return out, err
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer) != 1 || answer[0].Plan == nil {
		return out, fmt.Errorf("the plan of the server cannot be read (%v): %s", err, text)
	}
	top := answer[0].Plan
	out = node{Rows: top.Rows, Actual: top.Actual, WALBytes: top.WALBytes, Took: time.Duration(answer[0].Took * float64(time.Millisecond))}
	if len(answer[0].Triggers) > 0 {
		if err := json.Unmarshal(answer[0].Triggers, &out.Triggers); err != nil {
			return out, err
		}
	}
	low := top
	for len(low.Plans) > 0 {
		low = low.Plans[0]
	}
	if out.Scan, out.Index = low.Type, low.Index; low.Type == "Bitmap Index Scan" {
		out.Scan = "Bitmap Heap Scan"
	}
	return out, nil
}

// explain asks MySQL or MariaDB how it does a statement: the first row of the answer, by its columns.
func (w *walk) explain(ctx context.Context, db asker, statement string) (map[string]string, error) {
	explain := "EXPLAIN FORMAT=TRADITIONAL " // MySQL 9 has another default
	if w.maria {
		explain = "EXPLAIN "
	}
	rows, err := db.QueryContext(ctx, explain+statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	values := make([]sql.NullString, len(columns))
	places := make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() && len(out) == 0 {
		if err := rows.Scan(places...); err != nil {
			return nil, err
		}
		for i, c := range columns {
			out[c] = values[i].String
		}
	}
	return out, rows.Err()
}

// passed counts the rows of a batch that ends at a key, which the end of the range cuts short.
func (w *walk) passed(ctx context.Context, to string, size int64) (int64, error) {
	if to != w.upto {
		return size, nil
	}
	within, err := w.between(w.after, to)
	if err != nil {
		return 0, err
	}
	var n int64
	err = w.db.QueryRowContext(ctx, "SELECT "+w.count()+" FROM "+w.table+" WHERE "+within).Scan(&n)
	return n, err
}

func (w *walk) count() string {
	if w.mysql {
		return "COUNT(*)"
	}
	return "pg_catalog.count(*)"
}

// tell says how far the job is.
func (w *walk) tell(size int64, took time.Duration) {
	share, cause := w.gate.Held()
	w.config.Events(event.Progress{Step: "backfill", Done: w.pace.seen, Total: max(w.pace.total, w.pace.seen), Chunk: size, Took: took, Throttled: share, Cause: cause})
}
