-- +goose Up
CREATE TYPE ticket_status AS ENUM ('reserved', 'paid', 'cancelled');

-- +goose Down
DROP TYPE ticket_status;
