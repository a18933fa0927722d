-- price in cents
ALTER TABLE tickets ADD COLUMN price_cents bigint;
-- price in cents
UPDATE tickets SET price_cents = round(price * 100);
-- price in cents
ALTER TABLE tickets ALTER COLUMN price_cents SET NOT NULL;
-- price in cents
ALTER TABLE tickets DROP COLUMN price;
