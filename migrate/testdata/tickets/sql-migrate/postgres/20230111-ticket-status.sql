
-- +migrate Up
-- ticket status
CREATE TYPE ticket_status AS ENUM ('reserved', 'paid', 'cancelled');

-- +migrate Down
DROP TYPE ticket_status;
