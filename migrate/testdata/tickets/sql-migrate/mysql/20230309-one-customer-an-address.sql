
-- +migrate Up
-- one customer an address
ALTER TABLE customers ADD COLUMN email_lower varchar(120) GENERATED ALWAYS AS (LOWER(email)) STORED;
CREATE UNIQUE INDEX customers_email ON customers (email_lower);

-- +migrate Down
ALTER TABLE customers DROP COLUMN email_lower;
