// Package fault says what an error of a database allows: try again, ask what happened, mend the data, free the disk.
//
// The engine never branches on who an error is, only on what may be done after it. The questions overlap, and a caller
// asks the strictest first:
//
//	Lost       the connection broke: whatever was in flight may have happened or not. Ask the catalogue.
//	Canceled   somebody, a timeout or our own context stopped it.
//	LockTimeout, Transient   the same again, later, may work.
//	Data, Duplicate, Denied, Full, Undefined   a person has to act first.
//
// Everything here works on the SQLSTATE that a driver's error carries (PostgreSQL 18 manual, Appendix A; package mysql gives
// its errors the same ones) and on the errors of package net. Every function takes nil, which is no fault at all.
package fault

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Lost reports whether the connection broke under err, so that the outcome of what was in flight, a COMMIT above all,
// is unknown: ask the catalogue, and run nothing again on a guess. The session, its transaction and its settings are gone.
//
// That takes care of statements on a sql.Conn or in a sql.Tx. On a *sql.DB pgx 5.12 makes one without arguments, sent and
// never answered, a driver.ErrBadConn, and database/sql then runs it again by itself: what must not run twice unasked has
// no place there.
//
// An error while connecting is not Lost, since nothing was in flight; it may be Transient. Neither is a context that
// ended under a statement, which leaves the outcome as unknown: Canceled tells of that.
func Lost(err error) bool {
	return find(err, broken, connecting)
}

// Transient reports whether the same, tried again a little later, may work with nobody having done anything: deadlocks
// and serialization failures, locks not granted in time, a server that is full of sessions or short of memory, that
// restarts, or that cannot be reached. Where the outcome matters ask Lost first, for a lost connection is transient too.
//
// A disk that is full is not: it stays full, and trying fills it further. A host name that nobody knows and a dropped
// database are not, for they do not come back by themselves.
func Transient(err error) bool {
	code := Code(err)
	switch {
	case slices.Contains([]string{"40001", "40P01", "55P03", "53200", "53300", "57P03"}, code):
		return true
	case code == "57P04":
		return false
	case code != "" && !ended(code): // a server spoke: only the end of its session could make it worth another try
		return Lost(err)
	}
	return find(err, func(e error) bool {
		// The driver's own connect_timeout ends as a deadline too. If it was the caller's, then the caller stops anyway.
		return broken(e) || connecting(e) && errors.Is(e, context.DeadlineExceeded)
	}, nil)
}

// LockTimeout reports whether a lock was not granted within lock_timeout, or at once where NOWAIT was asked.
// Nothing happened, and the transaction has to be rolled back.
func LockTimeout(err error) bool { return Code(err) == "55P03" }

// Canceled reports whether a statement was stopped: by a person, by statement_timeout, or because our context ended.
// If the context ended while a statement was under way, the server may still have finished it.
func Canceled(err error) bool {
	return Code(err) == "57014" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Full reports whether the server is out of room: the disk, or a limit that its administrator set, such as
// temp_file_limit. Stop, and let a person make room. Memory is not meant: it comes back as other sessions end.
func Full(err error) bool {
	code := Code(err)
	return code == "53100" || code == "53400"
}

// Denied reports whether the server refused us for who we are: a privilege that is missing, or a login that failed.
func Denied(err error) bool {
	code := Code(err)
	return code == "42501" || strings.HasPrefix(code, "28")
}

// ReadOnly says that the server lets nobody write any more: it became a standby, or is taken out of service.
func ReadOnly(err error) bool { return Code(err) == "25006" }

// Data reports whether a row refuses its new shape: a value that cannot be converted, NULL where it must not be,
// a check or a foreign key that does not hold, a row or an index entry that is too long. Somebody has to mend the data or
// the statement. Two rows that exclude each other are not meant, see Duplicate.
func Data(err error) bool {
	code := Code(err)
	switch {
	case strings.HasPrefix(code, "22"):
		return true
	case strings.HasPrefix(code, "23"):
		return !Duplicate(err)
	}
	// "index row size 2904 exceeds btree version 4 maximum 2704" and "row is too big" are program limits to the server.
	return code == "54000"
}

// Unplaced reports whether a partitioned table has no partition for a row: a check that no constraint has made.
func Unplaced(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23514" && pg.ConstraintName == ""
}

// Duplicate reports whether two rows claim the same key, or exclude each other.
func Duplicate(err error) bool {
	code := Code(err)
	return code == "23505" || code == "23P01"
}

// Undefined reports whether a name is not there: a table, column, function, schema, database, or any other object.
// After a plan was made it means that somebody has dropped or renamed it meanwhile.
func Undefined(err error) bool {
	return slices.Contains([]string{"42P01", "42703", "42704", "42883", "3F000", "3D000"}, Code(err))
}

// Code is the SQLSTATE of the first error in err's tree that has one, or empty.
func Code(err error) string {
	if s, ok := errors.AsType[stater](err); ok {
		return s.SQLState()
	}
	return ""
}

// Message is what the server said, in its own words, without what callers and driver put around it.
// For an error that no server sent it is err.Error(), for nil it is empty.
func Message(err error) string {
	if err == nil {
		return ""
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Message
	}
	if s, ok := errors.AsType[speaker](err); ok {
		return s.ServerMessage()
	}
	return err.Error()
}

// Detail is the server's detail line, such as "Key (email)=(a@b.c) already exists.", or empty.
func Detail(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Detail
	}
	return ""
}

// speaker is an error that has the server's own words, as those of MySQL and MariaDB have.
type speaker interface {
	error
	ServerMessage() string
}

// stater is what every error of a server has that follows the SQL standard.
type stater interface {
	error
	SQLState() string
}

// broken says whether e itself, not what it wraps, means that a connection is no more.
func broken(e error) bool {
	switch e {
	case io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn, sql.ErrConnDone, pgconn.ErrConnClosed:
		return true
	case context.DeadlineExceeded: // satisfies net.Error, and is none
		return false
	}
	switch e := e.(type) {
	case *pgconn.PgError:
		// Whatever its code says, a server ends the session after FATAL and PANIC.
		return e.SeverityUnlocalized == "FATAL" || e.SeverityUnlocalized == "PANIC" || ended(e.Code)
	case stater:
		return ended(e.SQLState())
	case syscall.Errno: // satisfies net.Error whatever it says, ENOENT included
		return slices.Contains([]syscall.Errno{
			syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
			syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
		}, e)
	case net.Error:
		dns, ok := errors.AsType[*net.DNSError](e)
		return !ok || !dns.IsNotFound
	}
	return false
}

// ended says whether a SQLSTATE closes its session, or leaves the outcome open: class 08 (connection exception), 25P03
// and 25P04 (idle in transaction, or in it for too long), 40003 (statement completion unknown), 57P01 (shutdown, also
// pg_terminate_backend), 57P02 (crash), 57P04 (database dropped), 57P05 (idle for too long).
func ended(code string) bool {
	return strings.HasPrefix(code, "08") ||
		slices.Contains([]string{"25P03", "25P04", "40003", "57P01", "57P02", "57P04", "57P05"}, code)
}

// connecting says whether e, and all that it wraps, happened before any statement could be sent.
func connecting(e error) bool {
	switch e := e.(type) {
	case *pgconn.ConnectError, *net.DNSError:
		return true
	case *net.OpError:
		return e.Op == "dial"
	}
	return false
}

// find reports whether yes holds for err or for anything that it wraps. It does not look at or behind an error for
// which skip holds; a nil skip holds for none. errors.Is and errors.As cannot leave out a branch, and a tree may hold
// both a commit that was lost and a reconnect that was refused.
func find(err error, yes, skip func(error) bool) bool {
	if err == nil || skip != nil && skip(err) {
		return false
	}
	if yes(err) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return find(e.Unwrap(), yes, skip)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return find(err, yes, skip) })
	}
	return false
}
