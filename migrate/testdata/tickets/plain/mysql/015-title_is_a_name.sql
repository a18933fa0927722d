ALTER TABLE events RENAME COLUMN title TO name;

