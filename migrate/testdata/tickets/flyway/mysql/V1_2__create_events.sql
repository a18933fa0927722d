/*
 * create events;
 */
CREATE TABLE events (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    venue_id bigint NOT NULL,
    title varchar(200) NOT NULL,
    starts_at datetime NOT NULL,
    capacity int NOT NULL,
    CONSTRAINT events_capacity CHECK (capacity > 0),
    CONSTRAINT events_venue FOREIGN KEY (venue_id) REFERENCES venues (id)
) ENGINE=InnoDB;
CREATE INDEX events_start ON events (venue_id, starts_at);
