-- +goose Up
ALTER TYPE ticket_status ADD VALUE IF NOT EXISTS 'refunded';

-- +goose Down
