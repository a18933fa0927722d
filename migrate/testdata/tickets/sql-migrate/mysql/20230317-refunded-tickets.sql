
-- +migrate Up
-- refunded tickets
ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled', 'refunded') NOT NULL DEFAULT 'reserved';

-- +migrate Down
ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled') NOT NULL DEFAULT 'reserved';
