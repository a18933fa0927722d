ALTER TABLE customers MODIFY phone varchar(40) NULL COMMENT 'with the country''s code; +353, say';
