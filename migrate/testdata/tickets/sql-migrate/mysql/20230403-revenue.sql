
-- +migrate Up
-- revenue
CREATE FUNCTION revenue(event bigint) RETURNS bigint DETERMINISTIC READS SQL DATA
RETURN (SELECT COALESCE(SUM(CASE WHEN t.status = 'paid' THEN t.price_cents END), 0) FROM tickets t WHERE t.event_id = event);

-- +migrate Down
DROP FUNCTION revenue;
