ALTER TABLE tickets DROP FOREIGN KEY tickets_of_order;
ALTER TABLE tickets DROP COLUMN order_id;
