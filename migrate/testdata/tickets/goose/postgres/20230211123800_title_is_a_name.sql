-- +goose Up
ALTER TABLE events RENAME COLUMN title TO name;

-- +goose Down
ALTER TABLE events RENAME COLUMN name TO title;
