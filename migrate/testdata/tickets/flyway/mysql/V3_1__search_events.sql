/*
 * search events;
 */
ALTER TABLE events ADD FULLTEXT INDEX events_search (name);
