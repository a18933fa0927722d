-- short venue names
ALTER TABLE venues ALTER COLUMN name TYPE varchar(200);
-- short venue names
ALTER TABLE venues ADD COLUMN slug text GENERATED ALWAYS AS (lower(replace(city, ' ', '-'))) STORED;
