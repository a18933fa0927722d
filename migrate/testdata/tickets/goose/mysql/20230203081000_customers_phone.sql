-- +goose Up
ALTER TABLE customers ADD COLUMN phone varchar(40) NULL COMMENT 'with the country''s code; +353, say' AFTER email;

-- +goose Down
ALTER TABLE customers DROP COLUMN phone;
