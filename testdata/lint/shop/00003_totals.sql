-- +goose NO TRANSACTION
-- +goose Up
SET lock_timeout = '2s';
ALTER TABLE orders ALTER COLUMN total TYPE bigint;
CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_total ON orders (total);
-- changeling: ignore L43 invoices is filled by the release after this one
CREATE INDEX invoices_order ON invoices (order_id);
UPDATE orders SET total = total * 100;

-- +goose Down
SELECT 1;
