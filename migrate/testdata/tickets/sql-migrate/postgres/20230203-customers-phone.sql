
-- +migrate Up
-- customers phone
ALTER TABLE customers ADD COLUMN phone text;
COMMENT ON COLUMN customers.phone IS 'with the country''s code; +353, say';

-- +migrate Down
ALTER TABLE customers DROP COLUMN phone;
