-- +migrate Up
ALTER TABLE orders ALTER COLUMN amount TYPE bigint;

-- +migrate Down
ALTER TABLE orders ALTER COLUMN amount TYPE int;
