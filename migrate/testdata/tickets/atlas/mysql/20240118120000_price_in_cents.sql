-- price in cents
SET @factor = 100;
-- price in cents
ALTER TABLE tickets ADD COLUMN price_cents bigint NULL;
-- price in cents
UPDATE tickets SET price_cents = ROUND(price * @factor);
-- price in cents
ALTER TABLE tickets MODIFY price_cents bigint NOT NULL, DROP COLUMN price;
