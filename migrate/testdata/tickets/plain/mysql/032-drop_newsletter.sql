ALTER TABLE customers DROP COLUMN newsletter;

RENAME TABLE settings TO options;

