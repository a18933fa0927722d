package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	my "github.com/go-mysql-org/go-mysql/mysql"
)

// Wrap is a pool over a pool, for the engine alone. Its connections are the other pool's, each held until this pool lets
// it go, and then thrown away: a session has settings of ours by then, and MySQL has no SET LOCAL that would end with a
// transaction.
//
// What runs on it may have arguments written $1, $2 and so on, as often and in whatever order, and may be several
// statements with Then between them: all are run, and the last one answers. Errors of the server carry the SQLSTATE that
// PostgreSQL gives to the same matter, so that package fault can read them.
//
// Closing it lets all its connections go. The pool below stays the caller's.
func Wrap(db *sql.DB) *sql.DB { return wrap(connector{db: db}) }

func wrap(c connector) *sql.DB {
	pool := sql.OpenDB(c)
	pool.SetMaxIdleConns(8)
	pool.SetConnMaxIdleTime(time.Minute)
	return pool
}

// Then stands between two statements of one text.
const Then = ";\n/* then */\n"

// plain makes a session read and write like any other one, whatever the server, or its init_connect, gives to new ones: a limit of rows would
// hide columns of a table from us, and a COMMIT that begins the next transaction, or ends the session, is not ours. With alter_algorithm = COPY
// MariaDB copies whatever the statement demands (tried on 10.11), so a rehearsal would call at once what is not. What a user's statement
// depends on, such as sql_mode and time_zone, stays as it is.
const plain = "SET NAMES utf8mb4, autocommit = 1, completion_type = 0, sql_select_limit = 18446744073709551615, sql_safe_updates = 0, sql_big_selects = 1, " +
	"sql_quote_show_create = 1, sql_auto_is_null = 0 /*!80000 , max_execution_time = 0 */ /*M!100600 , max_statement_time = 0, alter_algorithm = 'DEFAULT' */"

type connector struct {
	db       *sql.DB
	unlogged bool // see WrapUnlogged
}

func (c connector) Driver() driver.Driver { return c.db.Driver() }

// Connect takes a connection out of the pool below. database/sql lends the driver's own only for the time of a function,
// so that function lasts as long as the connection does.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	below, err := lend(ctx, c.db)
	if err != nil {
		return nil, coded(err)
	}
	lent, over := make(chan any), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- below.Raw(func(dc any) error {
			lent <- dc
			<-over
			return driver.ErrBadConn // so that the pool below does not keep a session with our settings
		})
		below.Close() // it is gone already
	}()
	select {
	case dc := <-lent:
		in, ok := dc.(inner)
		if !ok {
			close(over)
			return nil, fmt.Errorf("the driver %T cannot run statements without preparing them: open the pool with github.com/go-mysql-org/go-mysql/driver", dc)
		}
		own := &conn{inner: in, over: sync.OnceFunc(func() { close(over) })}
		if _, err := own.ExecContext(ctx, plain, nil); err != nil {
			own.over()
			return nil, err
		}
		if c.unlogged {
			if _, err := own.ExecContext(ctx, unlogged, nil); err != nil {
				own.over()
				return nil, err
			}
		}
		if err := own.identify(ctx, c.db); err != nil {
			own.over()
			return nil, err
		}
		return own, nil
	case err := <-failed:
		return nil, coded(err)
	}
}

// inner is what a driver's connection has to be able to do.
type inner interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnBeginTx
}

type conn struct {
	inner inner
	over  func()
	bad   bool

	id    int64   // by which another connection can end what this one does
	below *sql.DB // where to get one
	maria bool    // the server is MariaDB
}

func (c *conn) Prepare(query string) (driver.Stmt, error) { return c.inner.Prepare(query) }
func (c *conn) Begin() (driver.Tx, error)                 { return c.BeginTx(context.Background(), driver.TxOptions{}) }
func (c *conn) IsValid() bool                             { return !c.bad }

// CheckNamedValue takes what literal can write.
func (c *conn) CheckNamedValue(v *driver.NamedValue) (err error) {
	v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
	return err
}

// Close gives the connection back to the pool below, which ends it.
func (c *conn) Close() error {
	c.over()
	return nil
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	t, err := leaving(c, ctx, func() (driver.Tx, error) { return c.inner.BeginTx(ctx, o) })
	if err != nil {
		return nil, c.state(err)
	}
	return &transaction{t, c, ctx}, nil
}

type transaction struct {
	inner driver.Tx
	conn  *conn
	ctx   context.Context // of the whole transaction: nobody waits for its end for long once this is over
}

func (t *transaction) Commit() error   { return t.end(t.inner.Commit) }
func (t *transaction) Rollback() error { return t.end(t.inner.Rollback) }

func (t *transaction) end(how func() error) error {
	_, err := leaving(t.conn, t.ctx, func() (struct{}, error) { return struct{}{}, how() })
	return t.conn.state(err)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (done driver.Result, err error) {
	for text := range strings.SplitSeq(query, Then) {
		if text, err = bind(text, args); err != nil {
			return nil, err
		}
		got, err := stopping(c, ctx, func(ctx context.Context) (driver.Result, error) { return c.inner.ExecContext(ctx, text, nil) })
		if err != nil {
			return nil, c.state(err)
		}
		done = got
	}
	return done, nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if at := strings.LastIndex(query, Then); at >= 0 {
		if _, err := c.ExecContext(ctx, query[:at], args); err != nil {
			return nil, err
		}
		query = query[at+len(Then):]
	}
	text, err := bind(query, args)
	if err != nil {
		return nil, err
	}
	rows, err := c.legible(ctx, text, func(text string) (driver.Rows, error) {
		return stopping(c, ctx, func(ctx context.Context) (driver.Rows, error) { return c.inner.QueryContext(ctx, text, nil) })
	})
	if err != nil {
		return nil, c.state(err)
	}
	return rows, nil
}

var placeholder = regexp.MustCompile(`\$[1-9][0-9]?\b`)

// bind writes the arguments into a statement. A statement of the user's has none, and stays as it is.
func bind(query string, args []driver.NamedValue) (string, error) {
	if len(args) == 0 {
		return query, nil
	}
	var failed error
	text := placeholder.ReplaceAllStringFunc(query, func(p string) string {
		n, _ := strconv.Atoi(p[1:]) // two digits
		if n > len(args) {
			failed = fmt.Errorf("statement has %s and %d arguments", p, len(args))
			return p
		}
		switch v := args[n-1].Value.(type) {
		case nil:
			return "NULL"
		case int64:
			return strconv.FormatInt(v, 10)
		case float64:
			return strconv.FormatFloat(v, 'g', -1, 64)
		case bool:
			return strconv.FormatBool(v)
		case string:
			return literal(v)
		case []byte:
			return literal(string(v))
		case time.Time:
			return literal(v.UTC().Format("2006-01-02 15:04:05.999999"))
		}
		failed = fmt.Errorf("argument %s has the type %T", p, args[n-1].Value)
		return p
	})
	return text, failed
}

// Error is an error of a MySQL or MariaDB server under the SQLSTATE that PostgreSQL gives to the same matter.
type Error struct {
	Code   uint16 // the server's own, zero for a connection that broke
	Text   string // the server's own words
	sqlSta string
	err    error
}

func (e *Error) Error() string         { return e.err.Error() }
func (e *Error) Unwrap() error         { return e.err }
func (e *Error) SQLState() string      { return e.sqlSta }
func (e *Error) ServerMessage() string { return e.Text }

// states are the SQLSTATEs of server errors, MySQL 9.7 and MariaDB 11.8 error lists.
var states = map[uint16]string{
	1205: "55P03", 3572: "55P03", // lock wait timeout, NOWAIT
	1213: "40P01", 1614: "40P01", 1412: "40001", 1615: "40001", 1020: "40001", 3100: "40001", 3101: "40001", // the last two: a group rolled the transaction back
	1040: "53300", 1203: "53300", 1041: "53200", 1037: "53200", 1038: "53200",
	1317: "57014", 3024: "57014", 1969: "57014",
	1053: "57P01", 1927: "08006", 4031: "08006", 3169: "08006",
	1114: "53100", 1021: "53100", 1026: "53100", 3019: "53100", 1799: "53400",
	1044: "42501", 1142: "42501", 1143: "42501", 1227: "42501", 1370: "42501", 1410: "42501", 1419: "42501", 1095: "42501", 1045: "28000", 1698: "28000",
	1062: "23505", 1586: "23505", 1022: "23505", 1859: "23505",
	1048: "23502", 1263: "23502", 1138: "23502", 1364: "23502",
	1401: "42501", // XA RECOVER without XA_RECOVER_ADMIN
	1451: "23503", 1452: "23503", 1216: "23503", 1217: "23503",
	3819: "23514", 4025: "23514", 1526: "23514",
	1264: "22003", 1690: "22003", 1265: "22000", 1406: "22001", 1292: "22007", 1366: "22000", 1411: "22000", 1367: "22000", 1525: "22000", 1365: "22012",
	3140: "22000", 3141: "22000", 3156: "22000", 1416: "22000", 4079: "22000", 1300: "22021",
	1118: "54000", 1071: "54000",
	1146: "42P01", 1109: "42P01", 1051: "42P01", 1054: "42703", 1049: "3F000", 1091: "42704", 1176: "42704", 1305: "42883", 1360: "42704", 1094: "42704",
	1050: "42P07", 1007: "42P06", 1061: "42P07", 1359: "42710",
	1064: "42601", 1242: "21000",
	1836: "25006", // innodb_read_only
}

func (c *conn) state(err error) error {
	err = coded(err)
	if e, ok := errors.AsType[*Error](err); ok && (strings.HasPrefix(e.sqlSta, "08") || e.sqlSta == "57P01") {
		c.bad = true
	}
	return err
}

// farewell says that the server has spoken unasked, which it does when it ends a session: after wait_timeout, a KILL, a shutdown. The
// driver reads that instead of an answer and finds the wrong number on it, an error without a type.
func farewell(cause error) bool {
	return cause == my.ErrMalformPacket || strings.HasPrefix(cause.Error(), "invalid sequence ")
}

// roomless says that a server failed for want of room, where the code says only what it was at. 28 is the system's number, 135
// the storage engine's.
func roomless(e *my.MyError) bool {
	switch e.Code {
	case 1, 3, 1004, 1005, 1006, 1016, 1025, 1030: // of files: create, write, rename
		for _, words := range []string{"errno: 28 ", "errno: 135 ", "Errcode: 28 ", "error 28 ", "error 135 "} {
			if strings.Contains(e.Message, words) {
				return true
			}
		}
	}
	return false
}

// Coded gives an error of a pool that is not wrapped yet its SQLSTATE. Any other error, and none, stays as it is.
func Coded(err error) error { return coded(err) }

// coded gives an error its SQLSTATE. An error that no server sent stays as it is.
func coded(err error) error {
	for cause := err; cause != nil; {
		if _, ok := cause.(*Error); ok { // it has one
			return err
		}
		if e, ok := cause.(*my.MyError); ok {
			if roomless(e) {
				return &Error{Code: e.Code, Text: e.Message, sqlSta: "53100", err: err}
			}
			state := states[e.Code]
			if e.Code == 1290 && strings.Contains(e.Message, "read-only") { // the number says only that an option of the server's forbids it
				state = "25006"
			}
			return &Error{Code: e.Code, Text: e.Message, sqlSta: state, err: err}
		}
		if cause == my.ErrBadConn || cause == driver.ErrBadConn || cause == io.EOF || farewell(cause) {
			// Not wrapped: database/sql runs a statement again by itself that ended with driver.ErrBadConn.
			return &Error{Text: "the connection broke", sqlSta: "08006", err: fmt.Errorf("the connection broke: %v", cause)}
		}
		switch e := cause.(type) {
		case interface{ Cause() error }:
			cause = e.Cause()
		case interface{ Unwrap() error }:
			cause = e.Unwrap()
		default:
			return err
		}
	}
	return err
}
