CREATE FUNCTION revenue(event bigint) RETURNS bigint LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(sum(CASE WHEN t.status = 'paid' THEN t.price_cents END), 0) FROM tickets t WHERE t.event_id = event;
END;

