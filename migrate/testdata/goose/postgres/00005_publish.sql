-- +goose Up
ALTER TABLE books ADD COLUMN published int NOT NULL DEFAULT 0;
UPDATE books SET published = 1759 WHERE id = 1;

-- +goose Down
ALTER TABLE books DROP COLUMN published;
