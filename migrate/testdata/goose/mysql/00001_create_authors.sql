-- +goose Up
CREATE TABLE authors (id int PRIMARY KEY, name varchar(100) NOT NULL);
CREATE TABLE books (id int PRIMARY KEY, author_id int NOT NULL, title varchar(200) NOT NULL);

-- +goose Down
DROP TABLE books;
DROP TABLE authors;
