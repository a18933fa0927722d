/*
 * tickets by status;
 */
CREATE INDEX tickets_status ON tickets (status, customer_id);
