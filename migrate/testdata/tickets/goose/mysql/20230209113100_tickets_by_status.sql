-- +goose Up
CREATE INDEX tickets_status ON tickets (status, customer_id);

-- +goose Down
DROP INDEX tickets_status ON tickets;
