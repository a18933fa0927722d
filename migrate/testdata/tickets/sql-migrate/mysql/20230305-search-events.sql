
-- +migrate Up
-- search events
ALTER TABLE events ADD FULLTEXT INDEX events_search (name);

-- +migrate Down
ALTER TABLE events DROP INDEX events_search;
