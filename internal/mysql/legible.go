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

// legible asks a question, and asks it again where a text of somebody made it fail. The list of sessions is in performance_schema, too, with
// texts of four bytes. In the end the error is one after which another attempt may go better.
func (c *conn) legible(ctx context.Context, text string, ask func(text string) (driver.Rows, error)) (driver.Rows, error) {
	rows, err := ask(text)
	if !illegible(err) || !strings.Contains(text, "information_schema.") {
		return rows, err
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
	rows, err := c.inner.QueryContext(ctx, "SELECT COUNT(*) > 0 FROM performance_schema.processlist WHERE id = CONNECTION_ID()", nil)
	if err != nil {
		return false
	}
	defer rows.Close()
	values := make([]driver.Value, 1)
	return rows.Next(values) == nil && values[0] == int64(1)
}
