ALTER TABLE venues MODIFY name varchar(400) NOT NULL;

ALTER TABLE venues ADD COLUMN slug varchar(100) AS (LOWER(REPLACE(city, ' ', '-'))) VIRTUAL;

