ALTER TABLE tickets ADD COLUMN price_cents bigint;

UPDATE tickets SET price_cents = round(price * 100);

ALTER TABLE tickets ALTER COLUMN price_cents SET NOT NULL;

ALTER TABLE tickets DROP COLUMN price;

