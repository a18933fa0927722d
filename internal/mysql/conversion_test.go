package mysql

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/changeling-db/changeling/internal/dbtest/mytest"
	"github.com/changeling-db/changeling/schema"
)

// conversions are columns, values and what becomes of the column. A row is copied by plain assignment, and the digests of
// both sides must agree; no two values of a list have one digest.
var conversions = []struct {
	from   string
	to     []string
	values []string
	only   string // "mysql" or "mariadb"
	lax    bool   // the server's own ALTER refuses what an assignment cuts off
}{
	{"int", []string{"int", "bigint", "int unsigned", "bigint(20) zerofill", "decimal(12,4)", "varchar(20)", "char(20)", "double", "float", "text CHARACTER SET latin1", "varchar(20) CHARACTER SET ucs2"}, []string{"0", "1", "77", "100000"}, "", false},
	{"int", []string{"smallint", "tinyint", "decimal(5,0)", "mediumint"}, []string{"-5", "0", "99"}, "", false},
	{"int(8) zerofill", []string{"int", "bigint unsigned", "decimal(10,1)"}, []string{"5", "12345"}, "", false},
	{"bigint unsigned", []string{"decimal(30,0)", "varchar(30)", "double"}, []string{"18446744073709551615", "1"}, "", false},
	{"bigint unsigned", []string{"bigint unsigned", "bit(64)"}, []string{"18446744073709551615", "18446744073709551614"}, "", false},
	{"bit(8)", []string{"bit(8)", "bit(16)", "int"}, []string{"0", "1", "b'1010'", "255"}, "", false},
	{"year", []string{"year", "int", "varchar(4)", "decimal(6,1)"}, []string{"1999", "2026"}, "", false},
	{"decimal(10,2)", []string{"decimal(10,2)", "decimal(12,4)", "decimal(10,1)", "int", "bigint unsigned", "double", "varchar(20)", "float"}, []string{"0", "1.55", "2.50", "7.49", "12345.67"}, "", false},
	{"decimal(10,2)", []string{"decimal(14,2)", "int", "char(12)"}, []string{"-1.50", "-0.49", "1.51", "99999999.99"}, "", false},
	{"float", []string{"float", "double", "decimal(20,6)"}, []string{"0", "1.5", "16777216", "0.1", "-3.25"}, "", false},
	{"float", []string{"float", "double"}, []string{"16777216", "16777215", "0.1", "0.10000001"}, "", false},
	{"float", []string{"int", "bigint"}, []string{"0.4", "1.6", "-7.3"}, "", false},
	{"double", []string{"double", "float", "decimal(20,6)", "varchar(40)"}, []string{"0", "1.5", "0.1", "1e10", "-123.456"}, "", false},
	{"double", []string{"double"}, []string{"0.1", "0.10000000000000002", "1e300", "1e-300"}, "", false},
	{"double", []string{"bigint", "int"}, []string{"2.5", "1.4", "3.6", "-8.8"}, "", false},
	{"date", []string{"date", "datetime", "datetime(6)", "varchar(20)"}, []string{"'2026-01-02'", "'0001-01-01'", "'0000-00-00'"}, "", false},
	{"date", []string{"timestamp", "timestamp(3)"}, []string{"'2026-01-02'", "'2011-07-09'"}, "", false},
	{"datetime(6)", []string{"datetime(6)", "datetime(3)", "datetime", "varchar(30)"}, []string{"'2026-01-02 03:04:05.123456'", "'2026-01-02 23:59:59.999999'", "'2026-01-02 03:04:09.500000'"}, "", false},
	{"datetime(6)", []string{"date"}, []string{"'2026-01-02 03:04:05.123456'", "'2026-01-05 23:59:59.999999'"}, "", false},
	{"datetime", []string{"datetime(6)", "date", "timestamp", "timestamp(6)", "char(19)"}, []string{"'2026-01-02 03:04:05'", "'2010-06-07 00:00:00'"}, "", false},
	{"datetime", []string{"time"}, []string{"'2026-01-02 03:04:05'"}, "", false},
	{"timestamp", []string{"timestamp", "timestamp(6)", "datetime", "datetime(3)", "date", "varchar(30)"}, []string{"'2026-01-02 03:04:05'", "'2010-06-07 00:00:00'"}, "", false},
	{"timestamp(6)", []string{"timestamp", "datetime", "timestamp(6)"}, []string{"'2026-01-02 03:04:05.123456'", "'2026-01-02 03:04:07.900000'"}, "", false},
	{"time(3)", []string{"time(3)", "time", "time(6)", "varchar(20)"}, []string{"'10:11:12.345'", "'-800:00:00.500'", "'00:00:00'"}, "", false},
	{"varchar(20)", []string{"varchar(20)", "varchar(40)", "text", "char(20)", "varchar(20) CHARACTER SET latin1", "varchar(20) CHARACTER SET utf16", "longtext CHARACTER SET utf8mb3", "varchar(8)"}, []string{"''", "'a'", "'A'", "'é'", "'naïve'"}, "", false},
	{"varchar(20)", []string{"varchar(30) COLLATE utf8mb4_bin", "text"}, []string{"'a'", "'a '", "'😀'", "'ß'"}, "", false},
	{"varchar(20)", []string{"char(20)", "char(5)", "varchar(6)"}, []string{"'abc '", "'x'", "'y   '"}, "", false},
	{"varchar(20)", []string{"char(5)", "varchar(4)"}, []string{"'abc '", "'x'", "'z                 '"}, "mariadb", true}, // MySQL refuses to cut spaces off
	{"varchar(20)", []string{"char(5)"}, []string{"'z                 '"}, "mysql", false},
	{"char(10)", []string{"char(10)", "varchar(10)", "text"}, []string{"'a'", "'bc   '", "'A'"}, "", false},
	{"varchar(20)", []string{"int", "bigint unsigned", "decimal(10,2)", "double", "float"}, []string{"'12'", "'7'", "' 15'"}, "", false},
	{"varchar(40)", []string{"decimal(10,2)", "double"}, []string{"'12.5'", "'1e2'", "'-7'"}, "", false},
	{"varchar(40)", []string{"datetime", "datetime(6)", "timestamp(3)"}, []string{"'2026-01-02 03:04:05'", "'2026-01-02'", "'2026-01-02T05:06:07'"}, "", false},
	{"varchar(40)", []string{"date"}, []string{"'2026-01-02'", "'2026-1-3'"}, "", false},
	{"varchar(40)", []string{"time"}, []string{"'10:11:12'", "'1:2:3'"}, "", false},
	{"varchar(10) CHARACTER SET latin1", []string{"varchar(10) CHARACTER SET utf8mb4", "text CHARACTER SET latin1", "varbinary(10)", "blob"}, []string{"'é'", "'e'", "'E'"}, "", false},
	{"varchar(10)", []string{"enum('a','B','ü')", "enum('ü','B','a') CHARACTER SET latin1"}, []string{"'a'", "'b'", "'Ü'"}, "", false},
	{"enum('a','b,c','d''e')", []string{"enum('a','b,c','d''e','f')", "enum('d''e','b,c','a')", "varchar(10)", "int", "char(5)", "enum('a','x','b,c','d''e') CHARACTER SET latin1"}, []string{"'a'", "'b,c'", "'d''e'"}, "", false},
	{"varchar(10)", []string{"enum('a','b')", "enum('b','a') CHARACTER SET latin1 COLLATE latin1_bin"}, []string{"'a  '", "'b'"}, "", false},
	{"tinyint", []string{"enum('a','b')"}, []string{"1", "2"}, "", false},
	{"tinyint", []string{"enum('3','2','1')"}, []string{"1", "2", "3"}, "mariadb", false}, // MySQL looks for the text first
	{"set('a','b','c')", []string{"set('a','b','c')", "set('a','b','x','c')", "varchar(20)"}, []string{"''", "'a'", "'a,c'", "'c,b'"}, "", false},
	{"varbinary(10)", []string{"varbinary(10)", "varbinary(20)", "blob", "binary(10)"}, []string{"'a'", "'A'", "x'ff00'", "''"}, "", false},
	{"binary(3)", []string{"binary(3)", "binary(5)", "varbinary(9)", "mediumblob"}, []string{"'a'", "'a '", "x'ff'"}, "", false},
	{"varbinary(10)", []string{"varchar(10)", "varchar(10) CHARACTER SET latin1", "text"}, []string{"'a'", "x'c3a9'", "'A'"}, "", false},
	{"varchar(10)", []string{"binary(12)", "varbinary(20)", "blob"}, []string{"'a'", "'é'", "'A'"}, "", false},
	{"json", []string{"json", "longtext", "varchar(200)"}, []string{`'{"b": 1, "a": [true, null]}'`, `'"x"'`, `'1.0'`, `'1'`}, "", false},
	{"text", []string{"json"}, []string{`'{"b":1,"a":[true,null]}'`, `' "x" '`, `'1.0'`}, "", false},
	{"point", []string{"point", "geometry"}, []string{"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(2 1)')"}, "", false},
	{"vector(3)", []string{"vector(3)"}, []string{"STRING_TO_VECTOR('[1,2,3]')", "STRING_TO_VECTOR('[1,2,4]')"}, "mysql", false},
	{"inet6", []string{"inet6", "varchar(50)"}, []string{"'::1'", "'::ffff:10.0.0.1'"}, "mariadb", false},
	{"uuid", []string{"uuid", "char(36)"}, []string{"'123e4567-e89b-12d3-a456-426655440000'", "'123e4567-e89b-12d3-a456-426655440001'"}, "mariadb", false},
	{"char(36)", []string{"uuid"}, []string{"'123e4567-e89b-12d3-a456-426655440000'", "'123E4567-E89B-12D3-A456-426655440001'"}, "mariadb", false},
}

func TestConversionsAgree(t *testing.T) {
	t.Parallel()
	mytest.Each(t, func(t *testing.T, version string) {
		db := mytest.Open(t, mytest.Database(t, version))
		db.SetMaxOpenConns(1)
		must := func(sql string) {
			t.Helper()
			if _, err := db.ExecContext(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		var database string
		if err := db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&database); err != nil {
			t.Fatal(err)
		}
		must("SET NAMES utf8mb4")
		must(Session{Settings: map[string]string{"time_zone": "+02:00"}}.SQL())
		for n, test := range conversions {
			if test.only != "" && !strings.HasPrefix(version, test.only) {
				continue
			}
			// source has the value in a column v, copied has it converted in one column a type, native is altered by the server.
			source, copied, native := fmt.Sprintf("a%d", n), fmt.Sprintf("b%d", n), fmt.Sprintf("c%d", n)
			var was, is, columns, values, alters []string
			for i, to := range test.to {
				was, is = append(was, fmt.Sprintf("v%d %s NULL", i, test.from)), append(is, fmt.Sprintf("v%d %s NULL", i, to))
				columns, values = append(columns, fmt.Sprintf("v%d", i)), append(values, "s.v")
				alters = append(alters, fmt.Sprintf("MODIFY v%d %s NULL", i, to))
			}
			must("CREATE TABLE " + source + " (id int PRIMARY KEY, v " + test.from + " NULL) CHARACTER SET utf8mb4")
			must("CREATE TABLE " + copied + " (id int PRIMARY KEY, " + strings.Join(is, ", ") + ") CHARACTER SET utf8mb4")
			must("CREATE TABLE " + native + " (id int PRIMARY KEY, " + strings.Join(was, ", ") + ") CHARACTER SET utf8mb4")
			must("INSERT INTO " + source + " VALUES (0, NULL)")
			for i, v := range test.values {
				must(fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", source, i+1, v))
			}
			move := "(id, " + strings.Join(columns, ", ") + ") SELECT s.id, " + strings.Join(values, ", ") + " FROM " + source + " s"
			must("INSERT INTO " + copied + " " + move)
			must("INSERT INTO " + native + " " + move)
			if !test.lax {
				must("ALTER TABLE " + native + " " + strings.Join(alters, ", "))
			}
			from, to := columnsOf(t, db, schema.Name{Schema: database, Table: source}), columnsOf(t, db, schema.Name{Schema: database, Table: copied})
			maria := strings.HasPrefix(version, "mariadb")
			for i, typ := range test.to {
				name := fmt.Sprintf("%s to %s", test.from, typ)
				expr, ok := convert(from[1], to[i+1], maria)
				text, known := digestText(from[1], to[i+1])
				if !ok || !known {
					t.Errorf("%s: refused", name)
					continue
				}
				if expr == "" {
					expr = "v"
				}
				digest := numbered(text, 2)
				query := func(value, table string) string {
					return "SELECT " + strings.ReplaceAll(digest, "%s", "("+value+")") + ", " + value + " FROM " + table + " ORDER BY id"
				}
				compare(t, db, name, query(expr, source), query(columns[i], copied))
				if test.lax {
					continue
				}
				compare(t, db, name+", as the server alters", query(columns[i], native), query(columns[i], copied))
			}
		}
	})
}

// What an assignment does not do as an ALTER would is refused, and not carried by halves.
func TestConversionsThatAreNoAssignments(t *testing.T) {
	t.Parallel()
	text := Column{Name: "v", Type: "varchar(40)", Data: "varchar", Charset: "utf8mb4", Length: 40}
	for _, from := range []Column{
		{Type: "int(8) unsigned zerofill", Data: "int"}, {Type: "float", Data: "float"}, {Type: "double(10,2)", Data: "double"}, {Type: "bit(4)", Data: "bit"},
		{Type: "decimal(10,2) unsigned zerofill", Data: "decimal"}, {Type: "point", Data: "point"},
	} {
		if expr, ok := convert(from, text, false); ok {
			t.Errorf("%s to %s goes by %q", from.Type, text.Type, expr)
		}
	}
	if expr, ok := convert(Column{Name: "v", Type: "int", Data: "int"}, Column{Name: "v", Type: "enum('a','2','1')", Data: "enum", Charset: "utf8mb4"}, false); ok {
		t.Errorf("a number to members that are numbers goes by %q", expr)
	}
}

func columnsOf(t *testing.T, db *sql.DB, n schema.Name) []Column {
	t.Helper()
	r, err := Inspect(t.Context(), db, n)
	if err != nil {
		t.Fatal(err)
	}
	return r.Columns
}

func compare(t *testing.T, db *sql.DB, name, left, right string) {
	t.Helper()
	read := func(query string) (out [][2]string) {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Errorf("%s: %s: %v", name, query, err)
			return nil
		}
		defer rows.Close()
		for rows.Next() {
			var h string
			var v sql.NullString
			if err := rows.Scan(&h, &v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			out = append(out, [2]string{h, v.String})
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %s: %v", name, query, err)
		}
		return out
	}
	a, b := read(left), read(right)
	if len(a) != len(b) {
		t.Errorf("%s: %d rows and %d", name, len(a), len(b))
		return
	}
	seen := map[string]string{}
	for i := range a {
		if a[i][0] != b[i][0] {
			t.Errorf("%s: row %d: source %q, shadow %q\n%s", name, i, a[i], b[i], left)
		}
		if v, twice := seen[b[i][0]]; twice && v != b[i][1] {
			t.Errorf("%s: %q and %q have one digest", name, v, b[i][1])
		}
		seen[b[i][0]] = b[i][1]
	}
}
