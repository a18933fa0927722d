BEGIN;

INSERT INTO events (id, venue_id, title, starts_at, capacity)
SELECT i, 1 + i % 3, 'Evening ' || i, timestamptz '2024-05-01 19:00+00' + i * interval '1 day', 10 + i FROM generate_series(1, 40) i;
INSERT INTO customers (id, email, full_name)
SELECT i, 'Guest' || i || '@example.org', CASE WHEN i % 7 = 0 THEN 'D''Arcy; ' ELSE 'Guest ' END || i FROM generate_series(1, 60) i;

COMMIT;
