
-- +migrate Up notransaction
-- one customer an address
CREATE UNIQUE INDEX CONCURRENTLY customers_email ON customers (lower(email));

-- +migrate Down notransaction
DROP INDEX CONCURRENTLY customers_email;
