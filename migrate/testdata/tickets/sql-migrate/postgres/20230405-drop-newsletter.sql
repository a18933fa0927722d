
-- +migrate Up
-- drop newsletter
ALTER TABLE customers DROP COLUMN newsletter;

-- +migrate Down
ALTER TABLE customers ADD COLUMN newsletter boolean NOT NULL DEFAULT false;
