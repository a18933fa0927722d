
-- +migrate Up
-- seed events
INSERT INTO events (id, venue_id, title, starts_at, capacity)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
SELECT i, 1 + i % 3, CONCAT('Evening ', i), '2024-05-01 19:00:00' + INTERVAL i DAY, 10 + i FROM n;
INSERT INTO customers (id, email, full_name)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
SELECT i, CONCAT('Guest', i, '@example.org'), CONCAT(IF(i % 7 = 0, 'D''Arcy; ', "Guest "), i) FROM n;

-- +migrate Down
DELETE FROM customers;
DELETE FROM events;
