-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY tickets_customer ON tickets (customer_id) WHERE status <> 'cancelled';

-- +goose Down
DROP INDEX CONCURRENTLY tickets_customer;
