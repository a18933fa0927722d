-- +goose Up
UPDATE orders SET amount = 5000000000 WHERE id = 1;

-- +goose Down
UPDATE orders SET amount = 1 WHERE id = 1;
