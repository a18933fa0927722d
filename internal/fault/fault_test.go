package fault_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/changeling-db/changeling/internal/fault"
)

// kinds names every question that err answers with yes.
func kinds(err error) string {
	var yes []string
	for _, q := range []struct {
		name string
		ask  func(error) bool
	}{
		{"lost", fault.Lost},
		{"transient", fault.Transient},
		{"lock", fault.LockTimeout},
		{"canceled", fault.Canceled},
		{"full", fault.Full},
		{"denied", fault.Denied},
		{"data", fault.Data},
		{"duplicate", fault.Duplicate},
		{"undefined", fault.Undefined},
	} {
		if q.ask(err) {
			yes = append(yes, q.name)
		}
	}
	return strings.Join(yes, " ")
}

func server(code string) error {
	return &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: code, Message: "the server's words"}
}

func fatal(code string) error {
	return &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "the server's words"}
}

// other is the error of a driver that knows SQLSTATE and is not pgx.
type other string

func (o other) Error() string    { return "other: " + string(o) }
func (o other) SQLState() string { return string(o) }

var faults = []struct {
	name string
	err  error
	want string
}{
	{"no error", nil, ""},
	{"an error that is no server's", errors.New("boom"), ""},
	{"syntax error", server("42601"), ""},

	{"deadlock", server("40P01"), "transient"},
	{"serialization failure", server("40001"), "transient"},
	{"statement completion unknown", server("40003"), "lost transient"},
	{"lock timeout", server("55P03"), "transient lock"},
	{"too many connections", fatal("53300"), "lost transient"},
	{"out of memory", server("53200"), "transient"},
	{"server starts up", server("57P03"), "transient"},
	{"another driver's deadlock", other("40P01"), "transient"},
	{"another driver's shutdown", other("57P01"), "lost transient"},

	{"shutdown, or pg_terminate_backend", fatal("57P01"), "lost transient"},
	{"crash of another session", fatal("57P02"), "lost transient"},
	{"database dropped", fatal("57P04"), "lost"},
	{"idle for too long", fatal("57P05"), "lost transient"},
	{"idle in transaction for too long", fatal("25P03"), "lost transient"},
	{"transaction for too long", fatal("25P04"), "lost transient"},
	{"connection failure", server("08006"), "lost transient"},
	{"protocol violation, said by a pooler", fatal("08P01"), "lost transient"},
	{"any code with FATAL", fatal("XX000"), "lost transient"},
	{"EOF", io.EOF, "lost transient"},
	{"EOF in a message", io.ErrUnexpectedEOF, "lost transient"},
	{"bad connection", driver.ErrBadConn, "lost transient"},
	{"connection given back", sql.ErrConnDone, "lost transient"},
	{"conn closed", pgconn.ErrConnClosed, "lost transient"},
	{"socket closed", net.ErrClosed, "lost transient"},
	{"reset by peer", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "lost transient"},
	{"broken pipe, bare", syscall.EPIPE, "lost transient"},
	{"read past a deadline", os.ErrDeadlineExceeded, "lost transient"},
	{"a commit lost, then a reconnect refused", errors.Join(io.ErrUnexpectedEOF, refused), "lost transient"},

	{"connection refused", refused, "transient"},
	{"network unreachable", &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, "transient"},
	{"unknown host", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, ""},
	{"name server out of order", &net.DNSError{Err: "server misbehaving", IsTemporary: true}, "transient"},
	{"a file that is missing", &fs.PathError{Op: "open", Path: "pass", Err: syscall.ENOENT}, ""},

	{"statement timeout, or cancelled by a person", server("57014"), "canceled"},
	{"our context was cancelled", context.Canceled, "canceled"},
	{"our context's time was over", context.DeadlineExceeded, "canceled"},

	{"disk full", server("53100"), "full"},
	{"temp_file_limit", server("53400"), "full"},

	{"privilege missing", server("42501"), "denied"},
	{"wrong password", server("28P01"), "denied"},
	{"no entry in pg_hba.conf", server("28000"), "denied"},

	{"value too long", server("22001"), "data"},
	{"number out of range", server("22003"), "data"},
	{"text that is no number", server("22P02"), "data"},
	{"not null", server("23502"), "data"},
	{"foreign key", server("23503"), "data"},
	{"check", server("23514"), "data"},
	{"index entry too long", server("54000"), "data"},
	{"unique", server("23505"), "duplicate"},
	{"exclusion", server("23P01"), "duplicate"},

	{"table is not there", server("42P01"), "undefined"},
	{"column is not there", server("42703"), "undefined"},
	{"type is not there", server("42704"), "undefined"},
	{"function is not there", server("42883"), "undefined"},
	{"schema is not there", server("3F000"), "undefined"},
	{"database is not there", server("3D000"), "undefined"},
}

var refused = &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, tt := range faults {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := kinds(tt.err); got != tt.want {
				t.Errorf("kinds(%v) = %q, want %q", tt.err, got, tt.want)
			}
		})
	}
}

// What callers put around an error never changes what it allows.
func TestKindsOfWrapped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fault := rapid.SampledFrom(faults[1:]).Draw(t, "fault")
		err := fault.err
		for _, how := range rapid.SliceOfN(rapid.IntRange(0, 2), 0, 6).Draw(t, "wraps") {
			switch how {
			case 0:
				err = fmt.Errorf("chunk after 7: %w", err)
			case 1:
				err = errors.Join(errors.New("close rows"), err)
			case 2:
				err = fmt.Errorf("%w, then %w", err, errors.New("rollback"))
			}
		}
		if got := kinds(err); got != fault.want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, fault.want)
		}
	})
}

// While connecting nothing is in flight, so nothing can be lost, whatever breaks.
func TestKindsWhileConnecting(t *testing.T) {
	t.Parallel()
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		if got, want := kinds(connect(t, time.Minute, nil)), "transient"; got != want {
			t.Errorf("kinds = %q, want %q", got, want)
		}
	})
	t.Run("the server hangs up", func(t *testing.T) {
		t.Parallel()
		err := connect(t, time.Minute, func(c net.Conn) { c.Close() })
		if got, want := kinds(err), "transient"; got != want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, want)
		}
	})
	t.Run("the server never answers", func(t *testing.T) {
		t.Parallel()
		err := connect(t, time.Second, func(net.Conn) {})
		if got, want := kinds(err), "transient canceled"; got != want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, want)
		}
	})
	t.Run("the server is full", func(t *testing.T) {
		t.Parallel()
		err := connect(t, time.Minute, answer("SFATAL", "VFATAL", "C53300", "Msorry, too many clients already"))
		if got, want := kinds(err), "transient"; got != want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, want)
		}
		if got, want := fault.Message(err), "sorry, too many clients already"; got != want {
			t.Errorf("Message = %q, want %q", got, want)
		}
	})
	t.Run("the server shuts down", func(t *testing.T) {
		t.Parallel()
		err := connect(t, time.Minute, answer("SFATAL", "VFATAL", "C57P01", "Mterminating connection"))
		if got, want := kinds(err), "transient"; got != want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, want)
		}
	})
	t.Run("the password is wrong", func(t *testing.T) {
		t.Parallel()
		err := connect(t, time.Minute, answer("SFATAL", "VFATAL", "C28P01", "Mpassword authentication failed"))
		if got, want := kinds(err), "denied"; got != want {
			t.Errorf("kinds(%v) = %q, want %q", err, got, want)
		}
	})
}

// connect is the error of pgx, which waits for so long, against a listener that does one thing with each connection, or is gone.
func connect(t *testing.T, wait time.Duration, serve func(net.Conn)) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan struct{})
	if serve == nil {
		l.Close()
		close(accepting)
	} else {
		go func() {
			defer close(accepting)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
				t.Cleanup(func() { c.Close() })
			}
		}()
	}
	t.Cleanup(func() { l.Close(); <-accepting })
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("postgres://u@%s/d?sslmode=disable", l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnectTimeout = wait
	_, err = pgconn.ConnectConfig(t.Context(), cfg)
	if err == nil {
		t.Fatal("connected to a server that is none")
	}
	return err
}

// answer sends one ErrorResponse (PostgreSQL manual, Message Formats) with these fields.
func answer(fields ...string) func(net.Conn) {
	body := strings.Join(fields, "\x00") + "\x00\x00"
	return func(c net.Conn) {
		c.Read(make([]byte, 1024)) // the start-up message, small enough to arrive at once
		fmt.Fprintf(c, "E\x00\x00\x00%c%s", 4+len(body), body)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	pg := &pgconn.PgError{
		Severity: "ERROR", Code: "23505",
		Message: `duplicate key value violates unique constraint "orders_email_key"`,
		Detail:  "Key (email)=(a@b.c) already exists.",
	}
	for _, tt := range []struct {
		name                  string
		err                   error
		code, message, detail string
	}{
		{"no error", nil, "", "", ""},
		{"no server's", fmt.Errorf("chunk: %w", io.EOF), "", "chunk: EOF", ""},
		{"a server's", pg, pg.Code, pg.Message, pg.Detail},
		{"a server's, wrapped", fmt.Errorf("build: %w", pg), pg.Code, pg.Message, pg.Detail},
		{"another driver's", fmt.Errorf("build: %w", other("23505")), "23505", "build: other: 23505", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := fault.Code(tt.err); got != tt.code {
				t.Errorf("Code(%v) = %q, want %q", tt.err, got, tt.code)
			}
			if got := fault.Message(tt.err); got != tt.message {
				t.Errorf("Message(%v) = %q, want %q", tt.err, got, tt.message)
			}
			if got := fault.Detail(tt.err); got != tt.detail {
				t.Errorf("Detail(%v) = %q, want %q", tt.err, got, tt.detail)
			}
		})
	}
}
