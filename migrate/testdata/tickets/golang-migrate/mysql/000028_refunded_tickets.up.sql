ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled', 'refunded') NOT NULL DEFAULT 'reserved';
