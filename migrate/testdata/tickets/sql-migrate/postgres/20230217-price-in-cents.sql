
-- +migrate Up
-- price in cents
ALTER TABLE tickets ADD COLUMN price_cents bigint;
UPDATE tickets SET price_cents = round(price * 100);
ALTER TABLE tickets ALTER COLUMN price_cents SET NOT NULL;
ALTER TABLE tickets DROP COLUMN price;

-- +migrate Down
ALTER TABLE tickets ADD COLUMN price numeric(10,2) NOT NULL DEFAULT 0;
UPDATE tickets SET price = price_cents / 100.0;
ALTER TABLE tickets DROP COLUMN price_cents;
