
-- +migrate Up
-- one ticket a seat
ALTER TABLE tickets ADD CONSTRAINT tickets_seat UNIQUE (event_id, seat);

-- +migrate Down
ALTER TABLE tickets DROP INDEX tickets_seat;
