
-- +migrate Up notransaction
-- tickets of a customer
CREATE INDEX CONCURRENTLY tickets_customer ON tickets (customer_id) WHERE status <> 'cancelled';

-- +migrate Down notransaction
DROP INDEX CONCURRENTLY tickets_customer;
