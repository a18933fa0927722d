ALTER TABLE events RENAME COLUMN name TO title;
