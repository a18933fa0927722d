-- ticket price
ALTER TABLE tickets ADD COLUMN price numeric(10,2) NOT NULL DEFAULT 0;
-- ticket price
UPDATE tickets SET price = 12.50 + seat WHERE status <> 'cancelled';
