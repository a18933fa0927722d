-- +goose Up
SET @factor = 100;
ALTER TABLE tickets ADD COLUMN price_cents bigint NULL;
UPDATE tickets SET price_cents = ROUND(price * @factor);
ALTER TABLE tickets MODIFY price_cents bigint NOT NULL, DROP COLUMN price;

-- +goose Down
ALTER TABLE tickets ADD COLUMN price decimal(10,2) NOT NULL DEFAULT 0;
UPDATE tickets SET price = price_cents / 100;
ALTER TABLE tickets DROP COLUMN price_cents;
