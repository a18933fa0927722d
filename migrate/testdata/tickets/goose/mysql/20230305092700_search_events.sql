-- +goose Up
ALTER TABLE events ADD FULLTEXT INDEX events_search (name);

-- +goose Down
ALTER TABLE events DROP INDEX events_search;
