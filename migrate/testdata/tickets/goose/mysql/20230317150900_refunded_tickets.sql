-- +goose Up
ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled', 'refunded') NOT NULL DEFAULT 'reserved';

-- +goose Down
ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled') NOT NULL DEFAULT 'reserved';
