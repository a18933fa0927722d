package postgres

import (
	"fmt"
	"slices"
	"strings"
)

// hashes are the types whose own hash tells every bit apart, with the function that computes it. The others are digested
// by their binary or text form, because their equality forgets something: numeric 1.0 and 1.00, float -0, the case of a
// collation, json without any equality at all.
//
// A call a column costs a third of hash_record_extended over a row of them, which forms a record and takes it apart again.
var hashes = map[string]string{
	"int2": "hashint2extended(%s, $)", "int4": "hashint4extended(%s, $)", "int8": "hashint8extended(%s, $)", "oid": "hashoidextended(%s, $)",
	"bool": "hashint4extended((%s)::pg_catalog.int4, $)", "uuid": "uuid_hash_extended(%s, $)", "timestamp": "timestamp_hash_extended(%s, $)",
	"time": "time_hash_extended(%s, $)", "name": "hashnameextended(%s, $)", "enum": "hash_record_extended(ROW(%s), $)",
	// Types whose hash function cannot be called by name with their own type go through a record of one column.
	"timestamptz": "hash_record_extended(ROW(%s), $)", "date": "hash_record_extended(ROW(%s), $)", "bytea": "hash_record_extended(ROW(%s), $)",
	"char": "hash_record_extended(ROW(%s), $)", "money": "hash_record_extended(ROW(pg_catalog.cash_send(%s)), $)", "pg_lsn": "hash_record_extended(ROW(%s), $)",
	"macaddr": "hash_record_extended(ROW(%s), $)",
	"float4":  "hash_record_extended(ROW(pg_catalog.float4send(%s)), $)", "float8": "hash_record_extended(ROW(pg_catalog.float8send(%s)), $)",
	"interval": "hash_record_extended(ROW(pg_catalog.interval_send(%s)), $)", "numeric": "hash_record_extended(ROW(pg_catalog.numeric_send(%s)), $)",
	"bpchar": "hash_record_extended(ROW(pg_catalog.bpcharsend(%s)), $)",
}

// digest is how a value of a column is digested to a bigint, with %s for the value. Each column has a seed of its own, so
// that values that change places change the digest, and NULL has a number of its own.
func digest(base string, seed int) string {
	hash, ok := hashes[base]
	if !ok {
		hash = `hashtextextended((%s)::pg_catalog.text COLLATE "pg_catalog"."C", $)`
	}
	return fmt.Sprintf("coalesce(pg_catalog.%s, %d)", strings.Replace(hash, "$", fmt.Sprint(seed), 1), seed)
}

// images are the forms of a type in which two values are equal only if they are the same, where that is not the value itself.
// exact are the types whose own equality is that; that of enums does not take a domain over one, so their text stands for them.
var images = map[string]string{
	"float4": "pg_catalog.float4send(%s)", "float8": "pg_catalog.float8send(%s)", "interval": "pg_catalog.interval_send(%s)", "numeric": "pg_catalog.numeric_send(%s)",
	"bpchar": "pg_catalog.bpcharsend(%s)",
}

var exact = []string{"int2", "int4", "int8", "oid", "bool", "uuid", "timestamp", "timestamptz", "date", "time", "name", "bytea", "char", "money", "pg_lsn", "macaddr"}

// image is the form in which values of a type are compared with pg_catalog's equality, with %s for the value.
func image(base string) string {
	if slices.Contains(exact, base) {
		return "%s"
	}
	if form, ok := images[base]; ok {
		return form
	}
	return `(%s)::pg_catalog.text COLLATE "pg_catalog"."C"`
}

// sum puts the digests of a row's columns together. A row is told apart from another by any of them.
func sum(digests []string) string {
	if len(digests) == 0 {
		return "0"
	}
	return "(" + strings.Join(digests, " OPERATOR(pg_catalog.#) ") + ")"
}
