/*
 * orders of tickets;
 */
ALTER TABLE tickets ADD COLUMN order_id bigint;
ALTER TABLE tickets ADD CONSTRAINT tickets_order FOREIGN KEY (order_id) REFERENCES orders (id) NOT VALID;
ALTER TABLE tickets VALIDATE CONSTRAINT tickets_order;
