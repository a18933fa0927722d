ALTER TABLE tickets DROP COLUMN order_id;
