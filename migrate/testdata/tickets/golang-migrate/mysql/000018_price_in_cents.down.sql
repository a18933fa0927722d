ALTER TABLE tickets ADD COLUMN price decimal(10,2) NOT NULL DEFAULT 0;
UPDATE tickets SET price = price_cents / 100;
ALTER TABLE tickets DROP COLUMN price_cents;
