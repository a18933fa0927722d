package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/fault"
)

// Server is what a server is among others, as far as a change depends on it.
type Server struct {
	Maria    bool
	ReadOnly bool // read_only or super_read_only: a replica, or a primary that somebody takes out of service
	Galera   bool // wsrep_on: each node of the cluster takes writes
	Group    Group
	Replicas int // that read its binary log now
}

// Group is what a server is in MySQL's group replication.
type Group struct {
	Members      int  // that are part of a group with this one, itself included; zero: there is none
	MultiPrimary bool // each member takes writes
	Primary      bool // this one does
}

// Look asks a server what it is. What an account may not see is taken for absent, but for the group of a server that has the
// plugin in multi-primary mode.
func Look(ctx context.Context, q DB) (Server, error) {
	var s Server
	d, err := ask(ctx, q)
	if err != nil {
		return s, coded(err)
	}
	s.Maria = d.maria
	set, err := variables(ctx, q, "read_only", "super_read_only", "wsrep_on", "group_replication_single_primary_mode")
	if err != nil {
		return s, err
	}
	s.ReadOnly, s.Galera = set["read_only"] == "ON" || set["super_read_only"] == "ON", set["wsrep_on"] == "ON"
	if mode, plugin := set["group_replication_single_primary_mode"]; plugin {
		var member, primary int
		err := q.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(member_role = 'PRIMARY' AND member_id = @@server_uuid), 0) FROM performance_schema.replication_group_members "+
			"WHERE member_state NOT IN ('OFFLINE', 'ERROR')").Scan(&member, &primary)
		if err = coded(err); err != nil && !fault.Denied(err) {
			return s, err
		}
		s.Group = Group{Members: member, MultiPrimary: mode == "OFF", Primary: primary > 0}
		if err != nil {
			s.Group.Members, s.Group.Primary = 1, true
			if !s.Group.MultiPrimary {
				s.Group = Group{} // a secondary is read_only
			}
		}
	}
	// Without PROCESS an account sees its own threads alone.
	err = coded(q.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'").Scan(&s.Replicas))
	return s, err
}

// variables are global system variables, those that the server has.
func variables(ctx context.Context, q DB, names ...string) (map[string]string, error) {
	rows, err := q.QueryContext(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ("+literals(names)+")")
	if err != nil {
		return nil, coded(err)
	}
	defer rows.Close()
	set := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		set[strings.ToLower(name)] = value
	}
	return set, rows.Err()
}

// Unfit says why no change can be made through this server, or nothing.
func (s Server) Unfit() string {
	switch {
	case s.Galera:
		return "the server is a node of a Galera cluster (wsrep_on is ON): LOCK TABLES, under which the tables are swapped, holds on one node alone, and the other nodes would go on writing. " +
			"Run the statement as it is, with the cluster's own means (wsrep_OSU_method)"
	case s.Group.Members > 0 && s.Group.MultiPrimary:
		return fmt.Sprintf("the server is in a group in multi-primary mode, of %d members now: LOCK TABLES, under which the tables are swapped, holds on one member alone, and the others would go on writing. "+
			"Needed: single-primary mode; SELECT group_replication_switch_to_single_primary_mode() does it while the group works", s.Group.Members)
	case s.Group.Members > 0 && !s.Group.Primary:
		return "the server is a secondary of its group: connect to the primary"
	case s.ReadOnly:
		return "the server is read-only (read_only or super_read_only is ON), as a replica is: connect to the primary, or switch it off if this is the primary"
	}
	return ""
}

// Fit is an error of kind Precondition where no change can be made through a server.
func Fit(ctx context.Context, q DB) (Server, error) {
	s, err := Look(ctx, q)
	if err != nil {
		return s, err
	}
	if why := s.Unfit(); why != "" {
		return s, &fault.Problem{Kind: fault.Precondition, Text: why + ". Nothing was changed"}
	}
	return s, nil
}
