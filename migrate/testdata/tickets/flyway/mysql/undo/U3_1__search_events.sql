ALTER TABLE events DROP INDEX events_search;
