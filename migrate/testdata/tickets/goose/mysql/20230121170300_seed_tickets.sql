-- +goose Up
INSERT INTO tickets (id, event_id, customer_id, seat, status)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
SELECT i, 1 + i % 40, 1 + i % 60, 1 + i DIV 40, CASE i % 3 WHEN 0 THEN 'paid' WHEN 1 THEN 'reserved' ELSE 'cancelled' END FROM n;

-- +goose Down
DELETE FROM tickets;
