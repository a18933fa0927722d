-- +goose Up
ALTER TABLE customers DROP COLUMN newsletter;
RENAME TABLE settings TO options;

-- +goose Down
RENAME TABLE options TO settings;
ALTER TABLE customers ADD COLUMN newsletter tinyint(1) NOT NULL DEFAULT 0;
