/*
 * create tickets;
 */
CREATE TABLE tickets (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id bigint NOT NULL,
    customer_id bigint NOT NULL,
    seat int NOT NULL,
    status enum('reserved', 'paid', 'cancelled') NOT NULL DEFAULT 'reserved',
    KEY tickets_event (event_id),
    CONSTRAINT tickets_event FOREIGN KEY (event_id) REFERENCES events (id) ON DELETE CASCADE,
    CONSTRAINT tickets_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
);
