ALTER TABLE books ADD COLUMN published int NOT NULL DEFAULT 0;
UPDATE books SET published = 1759 WHERE id = 1;
