package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	my "github.com/go-mysql-org/go-mysql/mysql"
)

// The tables of information_schema that list what others do have three bytes for a character. While somebody runs a statement
// with a character of four, an emoji in a text above all, MySQL answers every question to them with error 3854, whatever
// columns and rows are asked for, and whatever the sql_mode (tried on 9.7; MariaDB answers). Who asks must not fail of that.

const inconvertible = 3854

// How often a question is asked that only a statement of somebody stands in the way of, which as a rule is short, and with what rests: it
// may be asked under the cutover's lock.
const (
	legibleTries = 40
	legibleRest  = 2 * time.Millisecond
)

// Or stands between a question to information_schema and the same one to what performance_schema tells of transactions, whose texts have four
// bytes. It is asked where the first cannot be answered.
const Or = "\n/* or */\n"

// legible asks a question, and asks it again where a text of somebody made it fail. The list of sessions is in performance_schema, too. In the
// end the error is one after which another attempt may go better.
func (c *conn) legible(ctx context.Context, text string, ask func(text string) (driver.Rows, error)) (driver.Rows, error) {
	text, other, two := strings.Cut(text, Or)
	rows, err := ask(text)
	if !illegible(err) || !strings.Contains(text, "information_schema.") {
		return rows, err
	}
	if two && c.says(ctx, recorded) {
		return ask(other)
	}
	const listed = "information_schema.processlist"
	if strings.Contains(text, listed) && c.instrumented(ctx) {
		text = strings.ReplaceAll(text, listed, "performance_schema.processlist")
	}
	for range legibleTries {
		if rows, err = ask(text); !illegible(err) {
			return rows, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(legibleRest):
		}
	}
	return nil, &Error{Code: inconvertible, sqlSta: "40001", err: err,
		Text: "somebody runs a statement with a character of four bytes, such as an emoji, and as long as he does MySQL shows nobody's statements and transactions (error 3854)"}
}

func illegible(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(*my.MyError); ok {
			return e.Code == inconvertible
		}
		if e, ok := err.(interface{ Cause() error }); ok {
			return illegible(e.Cause())
		}
	}
	return false
}

// instrumented says that performance_schema lists the sessions: from MySQL 8.0.22 on, unless it is switched off, when it is empty.
func (c *conn) instrumented(ctx context.Context) bool {
	return c.says(ctx, "SELECT COUNT(*) > 0 FROM performance_schema.processlist WHERE id = CONNECTION_ID()")
}

// recorded asks whether performance_schema tells of each session's transaction, as it does unless somebody has told the server otherwise. One
// that was open when it was made to is not told of.
const recorded = `SELECT (SELECT COUNT(*) = 3 FROM performance_schema.setup_consumers WHERE name IN ('global_instrumentation', 'thread_instrumentation', 'events_transactions_current') AND enabled = 'YES')
  AND (SELECT COUNT(*) = 1 FROM performance_schema.setup_instruments WHERE name = 'transaction' AND enabled = 'YES' AND timed = 'YES')
  AND (SELECT COUNT(*) = 1 FROM performance_schema.global_status WHERE variable_name = 'Performance_schema_thread_instances_lost' AND variable_value = '0')
  AND NOT EXISTS (SELECT 1 FROM performance_schema.threads WHERE type = 'FOREGROUND' AND instrumented = 'NO')`

// says asks a question that is answered with yes or no; an error is a no.
func (c *conn) says(ctx context.Context, text string) bool {
	rows, err := c.inner.QueryContext(ctx, text, nil)
	if err != nil {
		return false
	}
	defer rows.Close()
	values := make([]driver.Value, 1)
	return rows.Next(values) == nil && values[0] == int64(1)
}
