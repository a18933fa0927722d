-- +migrate Up
CREATE INDEX books_title ON books (title);

-- +migrate Down
DROP INDEX books_title ON books;
