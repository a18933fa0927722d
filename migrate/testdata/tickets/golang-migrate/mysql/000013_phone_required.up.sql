ALTER TABLE customers MODIFY phone varchar(40) NOT NULL COMMENT 'with the country''s code; +353, say';
