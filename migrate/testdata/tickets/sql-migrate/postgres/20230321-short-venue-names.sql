
-- +migrate Up
-- short venue names
ALTER TABLE venues ALTER COLUMN name TYPE varchar(200);
ALTER TABLE venues ADD COLUMN slug text GENERATED ALWAYS AS (lower(replace(city, ' ', '-'))) STORED;

-- +migrate Down
ALTER TABLE venues DROP COLUMN slug;
ALTER TABLE venues ALTER COLUMN name TYPE text;
