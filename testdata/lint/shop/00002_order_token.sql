-- +goose Up
ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();
CREATE INDEX orders_placed ON orders (placed_at);
ALTER TABLE orders ALTER COLUMN status TYPE varchar(40);

-- +goose Down
ALTER TABLE orders DROP COLUMN token;
DROP INDEX orders_placed;
