
-- +migrate Up
-- orders of tickets
ALTER TABLE tickets ADD COLUMN order_id bigint NULL, ADD KEY tickets_order (order_id);
ALTER TABLE tickets ADD CONSTRAINT tickets_of_order FOREIGN KEY (order_id) REFERENCES orders (id);

-- +migrate Down
ALTER TABLE tickets DROP FOREIGN KEY tickets_of_order;
ALTER TABLE tickets DROP COLUMN order_id;
