/*
 * tickets of a customer;
 */
CREATE INDEX CONCURRENTLY tickets_customer ON tickets (customer_id) WHERE status <> 'cancelled';
