CREATE UNIQUE INDEX CONCURRENTLY customers_email ON customers (lower(email));
