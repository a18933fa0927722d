
-- +migrate Up
-- title is a name
ALTER TABLE events RENAME COLUMN title TO name;

-- +migrate Down
ALTER TABLE events RENAME COLUMN name TO title;
