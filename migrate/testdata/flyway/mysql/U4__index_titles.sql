DROP INDEX books_title ON books;
