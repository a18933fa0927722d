INSERT INTO orders (id, customer_id) SELECT id, id FROM customers WHERE id IN (SELECT customer_id FROM tickets);

UPDATE tickets SET order_id = customer_id;

WITH sums AS (SELECT order_id, sum(price_cents) AS cents FROM tickets GROUP BY order_id)
UPDATE orders SET total_cents = sums.cents, open = sums.cents = 0 FROM sums WHERE sums.order_id = orders.id;

