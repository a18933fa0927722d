
-- +migrate Up
-- customers phone
ALTER TABLE customers ADD COLUMN phone varchar(40) NULL COMMENT 'with the country''s code; +353, say' AFTER email;

-- +migrate Down
ALTER TABLE customers DROP COLUMN phone;
