UPDATE tickets SET order_id = NULL;
DELETE FROM orders;
