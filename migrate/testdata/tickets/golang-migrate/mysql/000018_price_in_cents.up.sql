SET @factor = 100;
ALTER TABLE tickets ADD COLUMN price_cents bigint NULL;
UPDATE tickets SET price_cents = ROUND(price * @factor);
ALTER TABLE tickets MODIFY price_cents bigint NOT NULL, DROP COLUMN price;
