
-- +migrate Up
-- tickets by status
CREATE INDEX tickets_status ON tickets (status, customer_id);

-- +migrate Down
DROP INDEX tickets_status ON tickets;
