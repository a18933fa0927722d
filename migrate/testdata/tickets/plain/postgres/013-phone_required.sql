ALTER TABLE customers ADD CONSTRAINT customers_phone CHECK (phone IS NOT NULL) NOT VALID;

ALTER TABLE customers VALIDATE CONSTRAINT customers_phone;

ALTER TABLE customers ALTER COLUMN phone SET NOT NULL;

ALTER TABLE customers DROP CONSTRAINT customers_phone;

