package dying

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
)

// conn, stmt, tx and rows delegate everything, also the optional interfaces. Where the inner value lacks one, they
// behave as database/sql does for such a value.
type conn struct {
	inner driver.Conn
	of    *Connector
}

var (
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
)

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	inner, ok := c.inner.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	return statement(c.of, query, func() (driver.Result, error) { return inner.ExecContext(ctx, query, args) }, nil)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := c.inner.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	return queried(c.of, query, func() (driver.Rows, error) { return inner.QueryContext(ctx, query, args) })
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	begin := func() (driver.Tx, error) {
		if inner, ok := c.inner.(driver.ConnBeginTx); ok {
			return inner.BeginTx(ctx, opts)
		}
		if opts != (driver.TxOptions{}) {
			return nil, errors.New("dying: the driver has no transactions with options")
		}
		//lint:ignore SA1019 drivers without BeginTx have only this
		return c.inner.Begin()
	}
	inner, err := statement(c.of, "BEGIN", begin, nil)
	if err != nil {
		return nil, err
	}
	return &tx{inner: inner, of: c.of}, nil
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{}) // database/sql never calls this one
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.of.isDead() {
		return nil, ErrDead
	}
	var inner driver.Stmt
	var err error
	if preparer, ok := c.inner.(driver.ConnPrepareContext); ok {
		inner, err = preparer.PrepareContext(ctx, query)
	} else {
		inner, err = c.inner.Prepare(query)
	}
	if err = c.of.mask(err); err != nil {
		return nil, err
	}
	return &stmt{inner: inner, on: c, text: query}, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query) // database/sql never calls this one
}

func (c *conn) Ping(ctx context.Context) error {
	if c.of.isDead() {
		return ErrDead
	}
	if inner, ok := c.inner.(driver.Pinger); ok {
		return c.of.mask(inner.Ping(ctx))
	}
	return nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	if c.of.isDead() {
		return ErrDead
	}
	if inner, ok := c.inner.(driver.SessionResetter); ok {
		return c.of.mask(inner.ResetSession(ctx))
	}
	return nil
}

func (c *conn) IsValid() bool {
	if c.of.isDead() {
		return false
	}
	inner, ok := c.inner.(driver.Validator)
	return !ok || inner.IsValid()
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.inner.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// Close frees what the connection holds. After death it is not an error, so that a pool can be closed.
func (c *conn) Close() error {
	c.of.forget(c)
	err := c.inner.Close()
	if c.of.isDead() {
		return nil
	}
	return err
}

type tx struct {
	inner driver.Tx
	of    *Connector
}

func (t *tx) Commit() error {
	_, err := statement(t.of, "COMMIT", func() (struct{}, error) { return struct{}{}, t.inner.Commit() }, nil)
	return err
}

func (t *tx) Rollback() error {
	_, err := statement(t.of, "ROLLBACK", func() (struct{}, error) { return struct{}{}, t.inner.Rollback() }, nil)
	return err
}

type stmt struct {
	inner driver.Stmt
	on    *conn
	text  string
}

var (
	_ driver.NamedValueChecker = (*stmt)(nil)
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
)

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return statement(s.on.of, s.text, func() (driver.Result, error) {
		if inner, ok := s.inner.(driver.StmtExecContext); ok {
			return inner.ExecContext(ctx, args)
		}
		values, err := unnamed(args)
		if err != nil {
			return nil, err
		}
		//lint:ignore SA1019 drivers without ExecContext have only this
		return s.inner.Exec(values)
	}, nil)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return queried(s.on.of, s.text, func() (driver.Rows, error) {
		if inner, ok := s.inner.(driver.StmtQueryContext); ok {
			return inner.QueryContext(ctx, args)
		}
		values, err := unnamed(args)
		if err != nil {
			return nil, err
		}
		//lint:ignore SA1019 drivers without QueryContext have only this
		return s.inner.Query(values)
	})
}

func (s *stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("dying: database/sql calls ExecContext")
}

func (s *stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("dying: database/sql calls QueryContext")
}

func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := s.inner.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	//lint:ignore SA1019 database/sql honours it for drivers that still have it
	if converter, ok := s.inner.(driver.ColumnConverter); ok {
		value, err := converter.ColumnConverter(v.Ordinal - 1).ConvertValue(v.Value)
		if err == nil {
			v.Value = value
		}
		return err
	}
	return s.on.CheckNamedValue(v)
}

func (s *stmt) NumInput() int { return s.inner.NumInput() }

func (s *stmt) Close() error {
	err := s.inner.Close()
	if s.on.of.isDead() {
		return nil
	}
	return err
}

func unnamed(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, arg := range args {
		if arg.Name != "" {
			return nil, errors.New("dying: the driver has no named arguments")
		}
		values[i] = arg.Value
	}
	return values, nil
}

// queried is statement for one that returns rows. The server may still be at work when the first row is here, and with
// pgx it commits only after the last one: death After must wait for the end.
func queried(of *Connector, text string, run func() (driver.Rows, error)) (driver.Rows, error) {
	inner, err := statement(of, text, run, func(all driver.Rows) {
		for row := make([]driver.Value, len(all.Columns())); all.Next(row) == nil; {
		}
		_ = all.Close() // the program is dead: nobody is there to be told
	})
	if err != nil {
		return nil, err
	}
	return &rows{inner: inner, of: of}, nil
}

type rows struct {
	inner driver.Rows
	of    *Connector
}

var (
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypeNullable         = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
	_ driver.RowsNextResultSet              = (*rows)(nil)
)

func (r *rows) Columns() []string { return r.inner.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	if r.of.isDead() {
		return ErrDead
	}
	return r.of.mask(r.inner.Next(dest))
}

func (r *rows) Close() error { return r.of.mask(r.inner.Close()) }

func (r *rows) HasNextResultSet() bool {
	inner, ok := r.inner.(driver.RowsNextResultSet)
	return ok && inner.HasNextResultSet()
}

func (r *rows) NextResultSet() error {
	inner, ok := r.inner.(driver.RowsNextResultSet)
	if !ok {
		return io.EOF
	}
	return r.of.mask(inner.NextResultSet())
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if inner, ok := r.inner.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return inner.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *rows) ColumnTypeLength(i int) (length int64, ok bool) {
	if inner, ok := r.inner.(driver.RowsColumnTypeLength); ok {
		return inner.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if inner, ok := r.inner.(driver.RowsColumnTypeNullable); ok {
		return inner.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if inner, ok := r.inner.(driver.RowsColumnTypePrecisionScale); ok {
		return inner.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}

func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if inner, ok := r.inner.(driver.RowsColumnTypeScanType); ok {
		return inner.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}
