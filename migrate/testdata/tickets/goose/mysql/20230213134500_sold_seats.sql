-- +goose Up
CREATE OR REPLACE VIEW sold_seats AS
SELECT e.id AS event_id, e.name, COUNT(t.id) AS seats
FROM events e LEFT JOIN tickets t ON t.event_id = e.id AND t.status = 'paid'
GROUP BY e.id, e.name;

-- +goose Down
DROP VIEW sold_seats;
