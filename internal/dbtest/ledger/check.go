package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Report says how the table compares with the ledger.
type Report struct {
	Rows int64 // of the table

	Missing int64 // rows that should be there
	Phantom int64 // rows that should not be there
	Stale   int64 // rows that are not as they were written last
	Lost    int64 // transactions that were acknowledged and are not in the ledger
	Ghost   int64 // transactions that failed or were rolled back and are in the ledger
	Doubted int64 // transactions in doubt that turned out to have happened

	Keys []string // the first few wrong ones
}

// Wrong is how much is wrong. Zero is the only good answer.
func (r Report) Wrong() int64 { return r.Missing + r.Phantom + r.Stale + r.Lost + r.Ghost }

func (r Report) String() string {
	text := fmt.Sprintf("%d rows: %d missing, %d phantom, %d stale; %d acknowledged transactions lost, %d ghosts", r.Rows, r.Missing, r.Phantom, r.Stale, r.Lost, r.Ghost)
	if r.Doubted > 0 {
		text += fmt.Sprintf(", %d in doubt had happened", r.Doubted)
	}
	if len(r.Keys) > 0 {
		text += ": " + strings.Join(r.Keys, "; ")
	}
	return text
}

// few is how many wrong keys a report names.
const few = 8

// Check folds the ledger and compares it with the table. It is called when nobody writes. db may be another connection
// than the writers', and another server after a failover.
func (l *Ledger) Check(ctx context.Context, db *sql.DB) (Report, error) {
	var r Report
	if err := db.QueryRowContext(ctx, l.text.rows()).Scan(&r.Rows); err != nil {
		return r, err
	}
	if err := l.rows(ctx, db, &r); err != nil {
		return r, err
	}
	return r, l.transactionsOf(ctx, db, &r)
}

func (l *Ledger) rows(ctx context.Context, db *sql.DB, r *Report) error {
	rows, err := db.QueryContext(ctx, l.text.wrong())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var what string
		var key int64
		var want, have sql.NullInt64
		if err := rows.Scan(&what, &key, &want, &have); err != nil {
			return err
		}
		switch what {
		case "missing":
			r.Missing++
		case "phantom":
			r.Phantom++
		default:
			r.Stale++
		}
		if len(r.Keys) < few {
			r.Keys = append(r.Keys, fmt.Sprintf("%s id %d, amount %s, want %s", what, key, amount(have), amount(want)))
		}
	}
	return rows.Err()
}

func amount(n sql.NullInt64) string {
	if !n.Valid {
		return "none"
	}
	return fmt.Sprint(n.Int64)
}

func (l *Ledger) transactionsOf(ctx context.Context, db *sql.DB, r *Report) error {
	rows, err := db.QueryContext(ctx, l.text.booking())
	if err != nil {
		return err
	}
	defer rows.Close()
	booked := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		booked[id] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.acked {
		if !booked[id] {
			r.Lost++
		}
	}
	for id := range booked {
		if l.void[id] {
			r.Ghost++
		}
		if l.doubt[id] {
			r.Doubted++
		}
	}
	return nil
}
