ALTER TABLE customers ADD COLUMN newsletter boolean NOT NULL DEFAULT false;
