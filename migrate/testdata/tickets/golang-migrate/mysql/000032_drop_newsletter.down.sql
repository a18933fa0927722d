RENAME TABLE options TO settings;
ALTER TABLE customers ADD COLUMN newsletter tinyint(1) NOT NULL DEFAULT 0;
