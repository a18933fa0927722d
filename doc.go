// Package changeling changes live tables without stopping anybody and without losing a write.
//
// It takes the ALTER TABLE that a server could only do by rewriting or scanning the table under a lock, builds a changed
// twin of the table beside it, copies the rows in small pieces, follows the writes of others by the keys that they touch,
// compares every row, and puts the twin in the place of the table in one transaction that holds its lock for milliseconds.
//
// [Apply] does all of it. It may be called again after any crash, and goes on where the change stood. [Open] gives an
// [Engine] for those who want to plan first, watch, pause or end changes.
//
// How a change goes, step by step, stands in docs/ARCHITECTURE.md.
package changeling
