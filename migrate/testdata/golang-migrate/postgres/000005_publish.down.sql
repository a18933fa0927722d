ALTER TABLE books DROP COLUMN published;
