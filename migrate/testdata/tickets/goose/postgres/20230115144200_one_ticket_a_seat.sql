-- +goose Up
ALTER TABLE tickets ADD CONSTRAINT tickets_seat UNIQUE (event_id, seat);

-- +goose Down
ALTER TABLE tickets DROP CONSTRAINT tickets_seat;
