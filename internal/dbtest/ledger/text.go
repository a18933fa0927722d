package ledger

import (
	"fmt"
	"strings"

	"github.com/changeling-db/changeling/internal/ident"
)

// text is the SQL of one table. A statement that writes puts what it did into the ledger itself: nextval is called for a
// row that the write has returned, and so has locked. For one key the order of n is therefore the order of the commits.
type text struct {
	table, ledger, seed, seq string

	insert, upsert, update, setEmail, delete, move, emails, truncate, refill string
}

// digest stands for a whole row. It is the same before and after amount becomes a bigint.
const digest = `md5(concat_ws('|', email, amount::bigint, payload, extract(epoch FROM updated)))`

func texts(table string) text {
	t := text{table: ident.Quote(table), ledger: ident.Quote(table + "_ledger"), seed: ident.Quote(table + "_seed"), seq: ident.Quote(table + "_n")}
	// $1 is always the transaction.
	t.insert = t.booked("put", "INSERT INTO {table} (id, email, amount, payload, updated) VALUES ($2::bigint, $3::text, $4::int, $5::text, clock_timestamp())")
	t.upsert = t.booked("put", "INSERT INTO {table} (id, email, amount, payload, updated) VALUES ($2::bigint, $3::text, $4::int, $5::text, clock_timestamp()) ON CONFLICT DO NOTHING")
	t.update = t.booked("put", "UPDATE {table} SET amount = (amount + $4::int) % 1000000, payload = coalesce($5::text, payload), updated = clock_timestamp() WHERE id BETWEEN $2::bigint AND $3::bigint")
	t.setEmail = t.booked("put", "UPDATE {table} SET email = $3::text WHERE id = $2::bigint")
	t.delete = t.booked("del", "DELETE FROM {table} WHERE id = $2::bigint")
	t.move = t.fill("WITH c AS (UPDATE {table} SET id = $3::bigint WHERE id = $2::bigint RETURNING id, amount::bigint AS value, {digest} AS digest) " +
		"INSERT INTO {ledger} (n, tx, op, key, key2, value, digest) SELECT nextval('{seq}'), $1::bigint, v.op, v.key, v.key2, c.value, v.digest " +
		"FROM c, LATERAL (VALUES ('del', $2::bigint, c.id, NULL), ('put', c.id, $2::bigint, c.digest)) v(op, key, key2, digest)")
	t.emails = t.fill("SELECT id, email FROM {table} WHERE id IN ($1::bigint, $2::bigint) ORDER BY id FOR UPDATE")
	t.truncate = t.fill("INSERT INTO {ledger} (n, tx, op) VALUES (nextval('{seq}'), $1::bigint, 'truncate')")
	t.refill = t.booked("put", "INSERT INTO {table} (id, email, amount, payload, updated) SELECT i, 'r' || $1::bigint || '.' || i, i % 1000, repeat(md5(i::text), 4), clock_timestamp() FROM generate_series(1, $2::bigint) i")
	return t
}

func (t text) fill(s string) string {
	return strings.NewReplacer("{table}", t.table, "{ledger}", t.ledger, "{seed}", t.seed, "{seq}", t.seq, "{digest}", digest).Replace(s)
}

func (t text) booked(op, write string) string {
	return t.fill("WITH c AS (" + write + " RETURNING id, amount::bigint AS value, {digest} AS digest) " +
		"INSERT INTO {ledger} (n, tx, op, key, value, digest) SELECT nextval('{seq}'), $1::bigint, '" + op + "', id, value, digest FROM c")
}

func (t text) create(rows int) []string {
	return []string{
		t.fill(`CREATE TABLE {table} (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, amount int NOT NULL, payload text NOT NULL, updated timestamptz NOT NULL)`),
		t.fill(fmt.Sprintf(`INSERT INTO {table} SELECT i, 's' || i, i %% 1000, repeat(md5(i::text), 4), timestamptz '2026-01-01' + i * interval '1 second' FROM generate_series(1, %d) i`, rows)),
		t.fill(`CREATE TABLE {seed} AS SELECT id AS key, amount::bigint AS value, {digest} AS digest FROM {table}`),
		t.fill(`CREATE SEQUENCE {seq}`),
		t.fill(`CREATE TABLE {ledger} (n bigint NOT NULL, tx bigint NOT NULL, op text NOT NULL, key bigint, key2 bigint, value bigint, digest text)`),
		t.fill(`VACUUM (ANALYZE) {table}`),
	}
}

// wrong lists the keys where the table is not what the ledger says. Entries before the last TRUNCATE do not count, and
// the table's first rows only where there was none.
func (t text) wrong() string {
	return t.fill(`WITH last AS MATERIALIZED (SELECT coalesce(max(n), 0) AS n FROM {ledger} WHERE op = 'truncate'),
entries AS (SELECT DISTINCT ON (key) key, op, value, digest FROM (
    SELECT 0::bigint AS n, key, 'put' AS op, value, digest FROM {seed} WHERE (SELECT n FROM last) = 0
    UNION ALL SELECT n, key, op, value, digest FROM {ledger} WHERE key IS NOT NULL AND n > (SELECT n FROM last)) e
  ORDER BY key, n DESC),
want AS (SELECT key, value, digest FROM entries WHERE op = 'put'),
have AS (SELECT id AS key, amount::bigint AS value, {digest} AS digest FROM {table})
SELECT CASE WHEN have.key IS NULL THEN 'missing' WHEN want.key IS NULL THEN 'phantom' ELSE 'stale' END, coalesce(want.key, have.key), want.value, have.value
FROM want FULL JOIN have ON have.key = want.key WHERE want.digest IS DISTINCT FROM have.digest ORDER BY 2`)
}

func (t text) booking() string { return t.fill(`SELECT DISTINCT tx FROM {ledger}`) }

func (t text) rows() string { return t.fill(`SELECT count(*) FROM {table}`) }
