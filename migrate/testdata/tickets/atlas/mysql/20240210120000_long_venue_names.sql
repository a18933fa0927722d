-- long venue names
ALTER TABLE venues MODIFY name varchar(400) NOT NULL;
-- long venue names
ALTER TABLE venues ADD COLUMN slug varchar(100) AS (LOWER(REPLACE(city, ' ', '-'))) VIRTUAL;
