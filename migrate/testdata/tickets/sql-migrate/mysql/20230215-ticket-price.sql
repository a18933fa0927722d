
-- +migrate Up
-- ticket price
ALTER TABLE tickets ADD COLUMN price decimal(10,2) NOT NULL DEFAULT 0;
UPDATE tickets SET price = 12.50 + seat WHERE status <> 'cancelled';

-- +migrate Down
ALTER TABLE tickets DROP COLUMN price;
