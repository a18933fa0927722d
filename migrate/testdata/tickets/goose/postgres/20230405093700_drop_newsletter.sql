-- +goose Up
ALTER TABLE customers DROP COLUMN newsletter;

-- +goose Down
ALTER TABLE customers ADD COLUMN newsletter boolean NOT NULL DEFAULT false;
