-- drop newsletter
ALTER TABLE customers DROP COLUMN newsletter;
-- drop newsletter
RENAME TABLE settings TO options;
