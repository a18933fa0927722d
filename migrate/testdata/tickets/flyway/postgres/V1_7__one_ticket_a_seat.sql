/*
 * one ticket a seat;
 */
ALTER TABLE tickets ADD CONSTRAINT tickets_seat UNIQUE (event_id, seat);
