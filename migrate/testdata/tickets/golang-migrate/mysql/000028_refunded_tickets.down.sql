ALTER TABLE tickets MODIFY status enum('reserved', 'paid', 'cancelled') NOT NULL DEFAULT 'reserved';
