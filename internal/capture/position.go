package capture

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// Flavors of servers.
const (
	MySQL   = mysql.MySQLFlavor
	MariaDB = mysql.MariaDBFlavor
)

// Position is where a reader stands: at the end of a transaction, in one file of one server, and, where the server has
// GTIDs, also by the transactions before it. A Position is plain data, JSON both ways.
type Position struct {
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	// GTID is the set of all transactions before it (MySQL, with gtid_mode=ON only), or the last one of each domain
	// (MariaDB). It lets a reader go on at another server, to which a failover went.
	GTID string `json:"gtid,omitempty"`
	// Made is when File was made, in seconds, by which it is told from one of the same name that came after all logs were deleted (RESET). Zero
	// means that it is not known.
	Made uint32 `json:"made,omitempty"`
	// Server tells which server File and Offset belong to: server_uuid on MySQL, a name put together on MariaDB.
	Server string `json:"server,omitempty"`
	// Prepared are the XA transactions that stood prepared here and have not changed the table, so that their XA COMMIT,
	// whenever it comes, means nothing.
	Prepared []string `json:"prepared,omitempty"`
}

// String is the position for a person.
func (p Position) String() string {
	if p.File == "" {
		return p.GTID
	}
	return p.File + ":" + strconv.FormatUint(p.Offset, 10)
}

// Queryer is *sql.DB, *sql.Conn or *sql.Tx.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Current asks the server where its binary log ends. It may be asked while the session holds LOCK TABLES.
//
// All that was committed before is before it. The reverse is not true: the log is written before the commit becomes
// visible, so there may be transactions before it that no SELECT shows yet. Who starts a reader here and then copies the
// table commits a transaction of its own in between, which waits for all before it (needs binlog_order_commits=ON, the
// default; MariaDB always orders), and asks XA RECOVER: a transaction that was prepared before is in no later event, and
// its XA COMMIT ends the reader with ErrXA.
func Current(ctx context.Context, db Queryer) (Position, error) {
	var version string
	if err := one(ctx, db, "SELECT VERSION()", &version); err != nil {
		return Position{}, err
	}
	maria := strings.Contains(version, "MariaDB")
	status := "SHOW MASTER STATUS"
	if !maria && since(version, 8, 2) {
		status = "SHOW BINARY LOG STATUS" // SHOW MASTER STATUS is gone in 8.4 (reference manual 8.4, 1.4)
	}
	p, err := logEnd(ctx, db, status)
	if err != nil {
		return Position{}, err
	}
	// The GTIDs are read after the file, so the set never lacks a transaction that a reader of the file would not meet.
	// What it has too many was committed before this returns (MySQL), or is before the caller's own next commit (MariaDB).
	if maria {
		return p, one(ctx, db, "SELECT @@global.gtid_binlog_pos, "+mariaServer, &p.GTID, &p.Server)
	}
	var mode string
	if err := one(ctx, db, "SELECT @@global.gtid_mode, @@global.gtid_executed, @@server_uuid", &mode, &p.GTID, &p.Server); err != nil {
		return Position{}, err
	}
	p.GTID = plainSet(p.GTID)
	if mode != "ON" {
		p.GTID = "" // with any other mode a transaction may have none, and the set does not say where we are
	}
	return p, nil
}

// Keeps reports whether a server still has a file of its binary log. It needs the right of Current.
func Keeps(ctx context.Context, db Queryer, file string) (bool, error) {
	rows, err := db.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return false, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return false, err
	}
	var name string
	into := make([]any, len(columns))
	for i := range into {
		into[i] = new(sql.RawBytes)
	}
	into[0] = &name
	for rows.Next() {
		if err := rows.Scan(into...); err != nil || name == file {
			return err == nil, err
		}
	}
	return false, rows.Err()
}

// mariaServer stands for the server_uuid that MariaDB does not have.
const mariaServer = "CONCAT(@@server_id, '/', @@hostname, ':', @@port, @@datadir)"

func logEnd(ctx context.Context, db Queryer, status string) (Position, error) {
	rows, err := db.QueryContext(ctx, status)
	if err != nil {
		return Position{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return Position{}, err
	}
	if !rows.Next() {
		return Position{}, cmp.Or(rows.Err(), errors.New("the server writes no binary log (log_bin=OFF)"))
	}
	var p Position
	into := make([]any, len(columns))
	for i := range into {
		into[i] = new(sql.RawBytes)
	}
	if len(into) < 2 {
		return Position{}, fmt.Errorf("%s has %d columns", status, len(into))
	}
	into[0], into[1] = &p.File, &p.Offset
	if err := rows.Scan(into...); err != nil {
		return Position{}, err
	}
	return p, rows.Err()
}

func one(ctx context.Context, db Queryer, query string, into ...any) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	return rows.Err()
}

// since reports whether a version text such as 8.4.3-commercial is that version or a later one.
func since(version string, major, minor int) bool {
	parts := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	for i, want := range []int{major, minor} {
		if i >= len(parts) {
			return false
		}
		if n, _ := strconv.Atoi(parts[i]); n != want {
			return n > want
		}
	}
	return true
}

func plainSet(gtid string) string {
	return strings.Join(strings.FieldsFunc(gtid, func(r rune) bool { return r == '\n' || r == ' ' || r == '\r' }), "")
}

// place is a Position that moves with every transaction: its GTIDs are text only when somebody asks.
type place struct {
	file   string
	offset uint64
	made   uint32
	gtids  mysql.GTIDSet // nil where there are none
	server string
}

func (p place) position() Position {
	out := Position{File: p.file, Offset: p.offset, Made: p.made, Server: p.server}
	if p.gtids != nil {
		out.GTID = p.gtids.String()
	}
	return out
}

func (p place) clone() place {
	if p.gtids != nil {
		p.gtids = p.gtids.Clone()
	}
	return p
}

// reached reports whether all that is before want has been read. Offsets say so on one server, GTIDs on any: those of
// MariaDB if its domains count upwards, as they do unless several servers write in one domain without gtid_strict_mode.
func (p place) reached(want Position, gtids mysql.GTIDSet) bool {
	if p.file != "" && p.server == want.Server && compareFiles(p.file, want.File) >= 0 {
		if p.file != want.File || p.offset >= want.Offset {
			return true
		}
	}
	return p.gtids != nil && gtids != nil && !gtids.IsEmpty() && p.gtids.Contain(gtids)
}

// Reaches reports whether all that is before want is before p, too, on a server of a flavor.
func (p Position) Reaches(flavor string, want Position) (bool, error) {
	here, err := parsePlace(flavor, p)
	if err != nil {
		return false, err
	}
	there, err := parsePlace(flavor, want)
	return err == nil && here.reached(want, there.gtids), err
}

// After is p, where a log ends, for a reader that was at a position before p was asked. Where it ends before that, it was deleted in between
// (RESET), which is ErrPurged. Where GTIDs are missing, that may be so too, though MySQL names those of a transaction some time after it is in the
// log: then p has none, so that only files and offsets tell how far it is to there.
func (p Position) After(flavor string, was Position) (Position, error) {
	if p.Server != was.Server || was.File == "" {
		return p, nil
	}
	if before(p, was) {
		return p, fmt.Errorf("%w: it was read to %s, and ends at %s", ErrPurged, was, p)
	}
	here, err := parsePlace(flavor, p)
	if err != nil {
		return p, err
	}
	there, err := parsePlace(flavor, was)
	if err == nil && here.gtids != nil && there.gtids != nil && !here.gtids.Contain(there.gtids) {
		p.GTID = ""
	}
	return p, err
}

// compareFiles orders binlog.999999 before binlog.1000000.
func compareFiles(a, b string) int {
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s[strings.LastIndexByte(s, '.')+1:], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	return cmp.Or(cmp.Compare(number(a), number(b)), strings.Compare(a, b))
}

// gtid is the id of a transaction that has begun.
type gtid interface{ add(mysql.GTIDSet) error }

type mysqlGTID struct {
	sid [16]byte
	tag mysql.Tag
	gno int64
}

func (g mysqlGTID) add(set mysql.GTIDSet) error {
	s, ok := set.(*mysql.MysqlGTIDSet)
	if !ok {
		return fmt.Errorf("GTID of MySQL in a set of %T", set)
	}
	s.AddGTIDWithTag(g.sid, g.tag, g.gno)
	return nil
}

// noGTID is a transaction of a server without GTIDs.
type noGTID struct{}

func (noGTID) add(mysql.GTIDSet) error { return nil }

type mariaGTID mysql.MariadbGTID

func (g mariaGTID) add(set mysql.GTIDSet) error {
	s, ok := set.(*mysql.MariadbGTIDSet)
	if !ok {
		return fmt.Errorf("GTID of MariaDB in a set of %T", set)
	}
	id := mysql.MariadbGTID(g)
	s.Sets[id.DomainID] = &id // the last one of its domain, as the server itself counts, out of order or not
	return nil
}

func gtidOf(e *replication.GTIDEvent) (gtid, error) {
	if len(e.SID) != 16 {
		return nil, fmt.Errorf("%w: GTID of server %x", errParse, e.SID)
	}
	return mysqlGTID{[16]byte(e.SID), e.Tag, e.GNO}, nil
}

func parsePlace(flavor string, p Position) (place, error) {
	out := place{file: p.File, offset: p.Offset, made: p.Made, server: p.Server}
	if p.GTID == "" {
		if flavor == MariaDB { // always on: an empty set is one of a log without transactions
			out.gtids = &mysql.MariadbGTIDSet{Sets: map[uint32]*mysql.MariadbGTID{}}
		}
		return out, nil
	}
	set, err := mysql.ParseGTIDSet(flavor, plainSet(p.GTID))
	if err != nil {
		return place{}, fmt.Errorf("position %q: %w", p.GTID, err)
	}
	out.gtids = set
	return out, nil
}

func sorted(set map[string]bool) []string {
	var out []string
	for x := range set {
		out = append(out, x)
	}
	slices.Sort(out)
	return out
}
