/*
 * seed tickets;
 */
INSERT INTO tickets (id, event_id, customer_id, seat, status)
SELECT i, 1 + i % 40, 1 + i % 60, 1 + i / 40, CASE i % 3 WHEN 0 THEN 'paid' WHEN 1 THEN 'reserved' ELSE 'cancelled' END::ticket_status FROM generate_series(0, 199) i;
