-- customers phone
ALTER TABLE customers ADD COLUMN phone text;
-- customers phone
COMMENT ON COLUMN customers.phone IS 'with the country''s code; +353, say';
