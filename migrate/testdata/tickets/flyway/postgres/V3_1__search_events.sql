/*
 * search events;
 */
ALTER TABLE events ADD COLUMN search tsvector GENERATED ALWAYS AS (to_tsvector('simple', name)) STORED;
CREATE INDEX events_search ON events USING gin (search);
