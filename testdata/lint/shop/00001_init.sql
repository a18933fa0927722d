-- +goose Up
CREATE TABLE accounts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       varchar(120) NOT NULL,
    balance     numeric(12,2) NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX accounts_email ON accounts (lower(email));
CREATE TABLE orders (
    id          serial PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts (id),
    status      varchar(20) NOT NULL DEFAULT 'new',
    total       integer NOT NULL,
    placed_at   timestamp,
    CONSTRAINT orders_status CHECK (status IN ('new', 'paid', 'sent'))
);
CREATE INDEX orders_account ON orders (account_id);

-- +goose Down
DROP TABLE orders;
DROP TABLE accounts;
