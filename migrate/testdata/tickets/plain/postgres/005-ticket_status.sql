CREATE TYPE ticket_status AS ENUM ('reserved', 'paid', 'cancelled');

