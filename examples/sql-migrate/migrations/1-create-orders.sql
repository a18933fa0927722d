-- +migrate Up
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int NOT NULL);

-- +migrate Down
DROP TABLE orders;
