-- +goose Up
UPDATE tickets SET status = 'refunded' WHERE status = 'cancelled' AND price_cents > 0;
UPDATE tickets SET status = 'refunded' WHERE id = 5;

-- +goose Down
UPDATE tickets SET status = 'cancelled' WHERE status = 'refunded';
