BEGIN;

ALTER TABLE tickets ADD COLUMN price numeric(10,2) NOT NULL DEFAULT 0;
UPDATE tickets SET price = 12.50 + seat WHERE status <> 'cancelled';

COMMIT;
