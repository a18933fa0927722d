DROP INDEX CONCURRENTLY tickets_customer;
