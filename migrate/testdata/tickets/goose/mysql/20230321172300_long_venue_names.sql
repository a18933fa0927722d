-- +goose Up
ALTER TABLE venues MODIFY name varchar(400) NOT NULL;
ALTER TABLE venues ADD COLUMN slug varchar(100) AS (LOWER(REPLACE(city, ' ', '-'))) VIRTUAL;

-- +goose Down
ALTER TABLE venues DROP COLUMN slug;
ALTER TABLE venues MODIFY name varchar(150) NOT NULL;
