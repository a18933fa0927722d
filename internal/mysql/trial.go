package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
	"github.com/changeling-db/changeling/internal/state"
	"github.com/changeling-db/changeling/schema"
)

// A trial is a change on a replica that is copied and compared there, and swapped nowhere. Nothing that it writes is in the replica's
// binary log: with GTIDs it would be a transaction that the source of the replica does not have. What it writes may meet nothing that
// comes from there either, so the database of its state, and its ids, are others than those of changes.

// trialDatabase has the state of trials. One that was called as that of changes would, when it is dropped, be missing for what is replicated into it.
const trialDatabase = "changeling_trial"

// TrialID makes an id of a change one of a trial, which no change has, and IsTrial tells it.
func TrialID(id string) string { return "t" + id[1:] }

// IsTrial says that an id is one of a trial.
func IsTrial(id string) bool { return trialID.MatchString(id) }

var (
	trialID    = regexp.MustCompile(`^t[0-9a-f]{7}$`)
	trialTwins = regexp.MustCompile(`^changeling_(t[0-9a-f]{7})(?:_old)?$`)
)

// WrapUnlogged is Wrap with connections whose writes are not in the server's binary log.
func WrapUnlogged(db *sql.DB) *sql.DB { return wrap(connector{db: db, unlogged: true}) }

// unlogged is for the whole session. A server refuses it in a transaction.
const unlogged = "SET SESSION sql_log_bin = 0"

// TrialText is StateText for the state of trials.
func TrialText() state.Text {
	t := StateText()
	in := strings.NewReplacer("changeling.", trialDatabase+".", "'changeling'", literal(trialDatabase), "DATABASE IF NOT EXISTS changeling ", "DATABASE IF NOT EXISTS "+trialDatabase+" ")
	fields := reflect.ValueOf(&t).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); text := f.Addr().Interface().(type) {
		case *string:
			*text = in.Replace(*text)
		case *[]string:
			for j := range *text {
				(*text)[j] = in.Replace((*text)[j])
			}
		}
	}
	return t
}

// ClaimTrials takes, and LetTrials lets go, the lock of those who begin a trial, and of those who drop the state of all. OpenTrials counts the
// trials that are not over, DropTrials drops the state.
const (
	ClaimTrials = `SELECT COALESCE(GET_LOCK('changeling trials', 30), 0)`
	LetTrials   = `DO RELEASE_LOCK('changeling trials')`
	OpenTrials  = `SELECT COUNT(*) FROM ` + trialDatabase + `.chg WHERE busy IS NOT NULL`
	DropTrials  = `DROP DATABASE IF EXISTS ` + trialDatabase
)

// StopWriters waits for those who write to the source of a pair, and keeps others from it until UNLOCK TABLES. It lets readers pass.
func StopWriters(p schema.Pair) string { return "LOCK TABLES " + qualified(p.Source) + " READ" }

// Snapshot begins a transaction that sees what is committed now, in all tables and for as long as it lasts.
const Snapshot = "ROLLBACK" + Then + "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ" + Then + "START TRANSACTION WITH CONSISTENT SNAPSHOT"

// Blocked says that the server takes no writes from this account, because it is read-only.
func Blocked(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == 1290 && strings.Contains(e.Text, "read")
}

// FitTrial is an error of kind Precondition where a server is none on which a change can be tried.
func FitTrial(ctx context.Context, q DB) error {
	s, err := Look(ctx, q)
	if err != nil {
		return err
	}
	why, err := s.unfitTrial(ctx, q)
	if why == "" || err != nil {
		return coded(err)
	}
	return &fault.Problem{Kind: fault.Precondition, Text: why + ". Nothing was changed"}
}

func (s Server) unfitTrial(ctx context.Context, q DB) (string, error) {
	if s.Galera || s.Group.Members > 0 {
		return "the server is a member of a cluster, whose others get what is written here: a trial needs a replica of its own (CHANGE REPLICATION SOURCE TO)", nil
	}
	set, err := variables(ctx, q, "super_read_only", "log_bin", "log_replica_updates", "log_slave_updates", "slave_run_triggers_for_rbr")
	if err != nil {
		return "", err
	}
	appliers, err := appliers(ctx, q, s.Maria)
	switch {
	case fault.Denied(coded(err)):
		return "the account may not ask whether the server is a replica: GRANT REPLICATION CLIENT ON *.* (on MariaDB SLAVE MONITOR)", nil
	case err != nil:
		return "", err
	case len(appliers) == 0:
		return "the server is no replica (SHOW REPLICA STATUS is empty), and a trial is for one: connect to a replica, or leave --test-on-replica out", nil
	}
	logs, name := set["log_replica_updates"], "log_replica_updates"
	if logs == "" { // MariaDB, and MySQL before 8.0.26
		logs, name = set["log_slave_updates"], "log_slave_updates"
	}
	switch {
	case set["log_bin"] != "ON":
		return "the replica writes no binary log (log_bin=OFF), in which the trial would read what changes meanwhile: switch it on together with " + name + ", or take another replica", nil
	case logs != "ON":
		return "the replica does not log what it applies (" + name + "=OFF), and a trial reads there what changes meanwhile: set it in the server's configuration and restart the replica, or take another one", nil
	case set["super_read_only"] == "ON":
		return "super_read_only is ON, and nobody can write to the replica: SET GLOBAL super_read_only = OFF for the time of the trial. read_only may stay ON", nil
	case set["slave_run_triggers_for_rbr"] != "" && set["slave_run_triggers_for_rbr"] != "NO":
		return "triggers run on the replica and what they write is not in its binary log (slave_run_triggers_for_rbr=" + set["slave_run_triggers_for_rbr"] + "): take another replica", nil
	}
	for _, a := range appliers {
		if a.running == "No" {
			return fmt.Sprintf("the replica's applier%s is stopped%s: START REPLICA SQL_THREAD first", a.named(), a.why()), nil
		}
	}
	return "", nil
}

// applier is what applies the log of one source.
type applier struct{ channel, running, failed string }

func (a applier) named() string {
	if a.channel == "" {
		return ""
	}
	return " of channel " + a.channel
}

func (a applier) why() string {
	if a.failed == "" {
		return ""
	}
	return " (" + a.failed + ")"
}

func appliers(ctx context.Context, q DB, maria bool) (out []applier, err error) {
	query := "SHOW REPLICA STATUS"
	if maria {
		query = "SHOW ALL SLAVES STATUS"
	}
	rows, err := q.QueryContext(ctx, query)
	if fault.Code(coded(err)) == "42601" { // MySQL before 8.0.22
		rows, err = q.QueryContext(ctx, "SHOW SLAVE STATUS")
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		into, values := make([]any, len(columns)), make([]sql.NullString, len(columns))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		var a applier
		for i, name := range columns {
			switch name {
			case "Channel_Name", "Connection_name":
				a.channel = values[i].String
			case "Replica_SQL_Running", "Slave_SQL_Running":
				a.running = values[i].String
			case "Last_SQL_Error":
				a.failed = values[i].String
			}
		}
		out = append(out, a)
	}
	return out, rows.Err()
}
