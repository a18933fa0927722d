// Package migrate runs versioned migrations: it reads the trees that other tools read, as they are, and brings a database
// from any released version to the newest one, with many instances started at once and one of them working.
//
// Its one idea: whatever happened to a statement is written down where it happened. On PostgreSQL a migration and its record
// are one transaction. Where that cannot be (MySQL, CREATE INDEX CONCURRENTLY, a table that is changed online), each
// statement has a record of its own, written before and after, and what a crash left open is asked of the catalogue. So the
// same call again goes on at the statement where the last one ended.
//
// Statements that would stop the users of a large table go through the engine, package changeling. All others run directly,
// with bounded waits for locks that are tried again.
package migrate
