/*
 * title is a name;
 */
ALTER TABLE events RENAME COLUMN title TO name;
