-- phone required
ALTER TABLE customers ADD CONSTRAINT customers_phone CHECK (phone IS NOT NULL) NOT VALID;
-- phone required
ALTER TABLE customers VALIDATE CONSTRAINT customers_phone;
-- phone required
ALTER TABLE customers ALTER COLUMN phone SET NOT NULL;
-- phone required
ALTER TABLE customers DROP CONSTRAINT customers_phone;
