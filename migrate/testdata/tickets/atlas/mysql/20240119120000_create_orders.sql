-- create orders
CREATE TABLE orders (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id bigint NOT NULL,
    total_cents bigint NOT NULL DEFAULT 0,
    open tinyint(1) NOT NULL DEFAULT 1,
    KEY orders_customer (customer_id)
);
-- create orders
ALTER TABLE orders ADD CONSTRAINT orders_of_customer FOREIGN KEY (customer_id) REFERENCES customers (id);
