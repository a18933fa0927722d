BEGIN;

ALTER TABLE customers ADD COLUMN phone text;
COMMENT ON COLUMN customers.phone IS 'with the country''s code; +353, say';

COMMIT;
