UPDATE tickets SET status = 'cancelled' WHERE status = 'refunded';
