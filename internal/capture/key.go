package capture

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// Key is the key of one row: a value for each of Config.Key, in that order. As an argument of a statement, compared with
// the column, each finds exactly that row again:
//
//	int64    integers, by the column's signedness; YEAR; BIT; ENUM by its number and SET by its bits
//	string   text in utf8mb4; DECIMAL; DATE, TIME, DATETIME and TIMESTAMP as the server writes them, TIMESTAMP in UTC, so
//	         the session needs time_zone '+00:00'; and integers of 2^63 and above, which database/sql takes from no one:
//	         compared with a column, both servers read the text as the exact number
//	[]byte   BINARY, with the zeros at its end, VARBINARY and BLOB
//
// No value is ever nil.
type Key []any

// Column is a column of the key.
type Column struct {
	Name string
	// Ordinal is its place in the row, from 0: ORDINAL_POSITION-1 of information_schema.
	Ordinal int
	// Type is DATA_TYPE of information_schema: int, varchar, datetime. Open refuses float and double, whose text is not
	// their value, and what the log has in a form of its own: json, geometry, vector, uuid, inet4, inet6.
	Type     string
	Unsigned bool
	// Charset is CHARACTER_SET_NAME of information_schema; empty for what is no text.
	Charset string
}

// ErrKey means that the key cannot be read from the log: capture needs triggers, or another key.
var ErrKey = errors.New("key cannot be read from the binary log")

// ErrImage means that a row in the log lacks a part of the key.
var ErrImage = errors.New("row image without its key")

// logged are the types in which the log has a column of a type.
var logged = map[string][]byte{
	"tinyint": {mysql.MYSQL_TYPE_TINY}, "smallint": {mysql.MYSQL_TYPE_SHORT}, "mediumint": {mysql.MYSQL_TYPE_INT24},
	"int": {mysql.MYSQL_TYPE_LONG}, "bigint": {mysql.MYSQL_TYPE_LONGLONG}, "year": {mysql.MYSQL_TYPE_YEAR},
	"decimal": {mysql.MYSQL_TYPE_NEWDECIMAL}, "bit": {mysql.MYSQL_TYPE_BIT},
	"date": {mysql.MYSQL_TYPE_DATE}, "time": {mysql.MYSQL_TYPE_TIME2}, "datetime": {mysql.MYSQL_TYPE_DATETIME2},
	"timestamp": {mysql.MYSQL_TYPE_TIMESTAMP2},
	"char":      {mysql.MYSQL_TYPE_STRING}, "varchar": {mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING},
	"binary": {mysql.MYSQL_TYPE_STRING}, "varbinary": {mysql.MYSQL_TYPE_VARCHAR, mysql.MYSQL_TYPE_VAR_STRING},
	"tinytext": {mysql.MYSQL_TYPE_BLOB}, "text": {mysql.MYSQL_TYPE_BLOB}, "mediumtext": {mysql.MYSQL_TYPE_BLOB}, "longtext": {mysql.MYSQL_TYPE_BLOB},
	"tinyblob": {mysql.MYSQL_TYPE_BLOB}, "blob": {mysql.MYSQL_TYPE_BLOB}, "mediumblob": {mysql.MYSQL_TYPE_BLOB}, "longblob": {mysql.MYSQL_TYPE_BLOB},
	"enum": {mysql.MYSQL_TYPE_ENUM}, "set": {mysql.MYSQL_TYPE_SET},
}

// MariaDB's compressed columns. go-mysql does not read their entries in the table map, and so misreads all after them.
const (
	blobCompressed    = 140
	varcharCompressed = 141
)

func (c Column) validate(columns int) error {
	if logged[c.Type] == nil {
		return fmt.Errorf("%w: column %s is of type %s", ErrKey, c.Name, c.Type)
	}
	if c.Ordinal < 0 || c.Ordinal >= columns {
		return fmt.Errorf("%w: column %s is number %d of %d", ErrKey, c.Name, c.Ordinal, columns)
	}
	if c.text() && slices.Contains(wide, c.Charset) {
		return fmt.Errorf("%w: column %s has charset %s", ErrKey, c.Name, c.Charset)
	}
	return nil
}

// wide are the charsets with characters of several bytes that are no Unicode: no table of 256 has their characters.
var wide = []string{"big5", "cp932", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "sjis", "ujis"}

// text reports whether the column's bytes are characters.
func (c Column) text() bool {
	return (strings.HasSuffix(c.Type, "char") || strings.HasSuffix(c.Type, "text")) && c.Charset != "" && c.Charset != "binary"
}

// layout compares what the log says of the table with what Open was told. It returns what differs, or nothing; err is
// for a table that cannot be read as it is.
func (c *Config) layout(te *replication.TableMapEvent) (differs string, err error) {
	if te.ColumnCount != uint64(c.Columns) {
		return fmt.Sprintf("the table has %d columns in the binary log, %d were expected", te.ColumnCount, c.Columns), nil
	}
	for i, t := range te.ColumnType {
		switch t {
		case blobCompressed, varcharCompressed:
			return "", fmt.Errorf("%w: column %d of %s is COMPRESSED", ErrKey, i+1, c.Table)
		case mysql.MYSQL_TYPE_TIMESTAMP, mysql.MYSQL_TYPE_DATETIME, mysql.MYSQL_TYPE_TIME:
			return "", fmt.Errorf("%w: column %d of %s has the temporal format of MySQL 5.5; ALTER TABLE … FORCE converts it", ErrKey, i+1, c.Table)
		}
	}
	for _, k := range c.Key {
		if t := kind(te, k.Ordinal); !slices.Contains(logged[k.Type], t) {
			return fmt.Sprintf("key column %s has type %d in the binary log, which is not %s", k.Name, t, k.Type), nil
		}
	}
	return "", nil
}

// kind is a column's type. ENUM and SET stand in the table map as strings.
func kind(te *replication.TableMapEvent, i int) byte {
	t := te.ColumnType[i]
	if t == mysql.MYSQL_TYPE_STRING {
		if real := byte(te.ColumnMeta[i] >> 8); real == mysql.MYSQL_TYPE_ENUM || real == mysql.MYSQL_TYPE_SET {
			return real
		}
	}
	return t
}

// width is the number of bytes that a BINARY(n) may have.
func width(meta uint16) int {
	high := meta >> 8
	if high&0x30 != 0x30 { // the length's upper bits are hidden in the type
		return int(meta&0xFF | (high&0x30^0x30)<<4)
	}
	return int(meta & 0xFF)
}

// keys takes the keys out of a decoded event, old and new of an update, one if they are the same.
func (c *Config) keys(e *replication.RowsEvent, charsets map[string]charset) ([]Key, error) {
	update := e.Type() == replication.EnumRowsEventTypeUpdate
	if e.Type() == replication.EnumRowsEventTypeUnknown { // go-mysql does not count this one as an update
		update = true
	}
	step := 1
	if update {
		step = 2
	}
	if len(e.Rows)%step != 0 {
		return nil, fmt.Errorf("%w: %d images of an update", ErrImage, len(e.Rows))
	}
	keys := make([]Key, 0, len(e.Rows))
	for i := 0; i < len(e.Rows); i += step {
		before, err := c.key(e, charsets, i, nil)
		if err != nil {
			return nil, err
		}
		keys = append(keys, before)
		if !update {
			continue
		}
		after, err := c.key(e, charsets, i+1, before)
		if err != nil {
			return nil, err
		}
		if !equal(before, after) {
			keys = append(keys, after)
		}
	}
	return keys, nil
}

// key is the key of one image. What the image of an update leaves out is unchanged, and is taken from before.
func (c *Config) key(e *replication.RowsEvent, charsets map[string]charset, row int, before Key) (Key, error) {
	key := make(Key, len(c.Key))
	for n, k := range c.Key {
		if slices.Contains(e.SkippedColumns[row], k.Ordinal) {
			if before == nil {
				return nil, fmt.Errorf("%w: %s lacks column %s: with binlog_row_image=MINIMAL the log has the primary key of a changed row, "+
					"and of an inserted one only what the statement named. SET binlog_row_image to FULL or NOBLOB", ErrImage, c.Table, k.Name)
			}
			key[n] = before[n]
			continue
		}
		v, err := k.value(e.Rows[row][k.Ordinal], e.Table.ColumnMeta[k.Ordinal], charsets)
		if err != nil {
			return nil, fmt.Errorf("column %s of %s: %w", k.Name, c.Table, err)
		}
		key[n] = v
	}
	return key, nil
}

func equal(a, b Key) bool {
	return slices.EqualFunc(a, b, func(x, y any) bool {
		if b, ok := x.([]byte); ok {
			c, ok := y.([]byte)
			return ok && bytes.Equal(b, c)
		}
		return x == y
	})
}

// value makes an argument of what go-mysql decoded. Integers come signed, whatever they are.
func (c Column) value(v any, meta uint16, charsets map[string]charset) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, fmt.Errorf("%w: NULL in a key", ErrKey)
	case int8:
		return c.integer(int64(v), 8), nil
	case int16:
		return c.integer(int64(v), 16), nil
	case int32:
		if c.Type == "mediumint" {
			return c.integer(int64(v), 24), nil
		}
		return c.integer(int64(v), 32), nil
	case int64:
		switch c.Type {
		case "bit", "enum", "set":
			if v < 0 {
				return nil, fmt.Errorf("%w: all 64 bits are in use", ErrKey) // no argument is compared with such a column exactly
			}
			return v, nil
		}
		return c.integer(v, 64), nil
	case int: // YEAR
		return int64(v), nil
	case string:
		return c.characters([]byte(v), meta, charsets)
	case []byte:
		return c.characters(v, meta, charsets)
	}
	return nil, fmt.Errorf("%w: a value of Go type %T", ErrKey, v)
}

func (c Column) integer(v int64, bits int) any {
	if !c.Unsigned {
		return v
	}
	u := uint64(v) & (1<<bits - 1)
	if u > math.MaxInt64 {
		return strconv.FormatUint(u, 10)
	}
	return int64(u)
}

// characters returns what a statement needs for the bytes of a column. The bytes are never kept: they are part of a
// whole event.
func (c Column) characters(b []byte, meta uint16, charsets map[string]charset) (any, error) {
	switch {
	case c.text():
		return charsets[c.Charset].text(b)
	case c.Type == "binary":
		padded := make([]byte, max(len(b), width(meta))) // the log leaves out zeros at the end
		copy(padded, b)
		return padded, nil
	case c.Charset == "binary", strings.HasSuffix(c.Type, "binary"), strings.HasSuffix(c.Type, "blob"):
		return bytes.Clone(b), nil
	}
	return string(b), nil // decimals, dates and times
}

// charset turns the bytes of a column into text.
type charset struct {
	name string
	// table has the character of each byte, 0 where it has none, for a charset of one byte a character.
	table *[256]rune
}

// unicodes are the charsets that need no table of the server.
var unicodes = []string{"utf8mb4", "utf8mb3", "utf8", "ascii", "ucs2", "utf16", "utf16le", "utf32"}

func (c charset) text(b []byte) (any, error) {
	var runes []rune
	switch c.name {
	case "utf8mb4", "utf8mb3", "utf8", "ascii":
		if !utf8.Valid(b) {
			return nil, fmt.Errorf("%w: bytes %x are not %s", ErrKey, b, c.name)
		}
		return string(b), nil
	case "ucs2", "utf16", "utf16le":
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
			if c.name == "utf16le" {
				units[i] = units[i]>>8 | units[i]<<8
			}
		}
		runes = utf16.Decode(units)
		if len(b)%2 != 0 {
			runes = append(runes, utf8.RuneError)
		}
	case "utf32":
		for i := 0; i+4 <= len(b); i += 4 {
			runes = append(runes, rune(b[i])<<24|rune(b[i+1])<<16|rune(b[i+2])<<8|rune(b[i+3]))
		}
		if len(b)%4 != 0 {
			runes = append(runes, utf8.RuneError)
		}
	default:
		if c.table == nil {
			return nil, fmt.Errorf("%w: no table of charset %q", ErrKey, c.name)
		}
		runes = make([]rune, len(b))
		for i, x := range b {
			runes[i] = c.table[x]
			if runes[i] == 0 && x != 0 {
				runes[i] = utf8.RuneError
			}
		}
	}
	if slices.ContainsFunc(runes, func(r rune) bool { return r == utf8.RuneError || !utf8.ValidRune(r) }) {
		return nil, fmt.Errorf("%w: bytes %x of charset %s are no text", ErrKey, b, c.name)
	}
	return string(runes), nil
}

// plain is the table map with which an event is decoded: JSON is passed over as the bytes that it is, and integers are
// read signed. For a partial update of JSON its type has to stay.
func plain(te *replication.TableMapEvent, partial bool) *replication.TableMapEvent {
	out := *te
	out.SignednessBitmap = nil
	if !partial {
		out.ColumnType = slices.Clone(te.ColumnType)
		for i, t := range out.ColumnType {
			if t == mysql.MYSQL_TYPE_JSON {
				out.ColumnType[i] = mysql.MYSQL_TYPE_BLOB
			}
		}
	}
	return &out
}
