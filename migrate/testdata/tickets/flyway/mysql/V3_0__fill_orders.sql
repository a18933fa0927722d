/*
 * fill orders;
 */
INSERT INTO orders (id, customer_id) SELECT id, id FROM customers WHERE id IN (SELECT customer_id FROM tickets);
UPDATE tickets SET order_id = customer_id;
UPDATE orders JOIN (SELECT order_id, SUM(price_cents) AS cents FROM tickets GROUP BY order_id) sums ON sums.order_id = orders.id
SET orders.total_cents = sums.cents, orders.open = sums.cents = 0;
