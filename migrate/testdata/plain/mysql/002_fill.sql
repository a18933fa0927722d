INSERT INTO authors (id, name) VALUES (1, 'O''Brien; or -- so'), (2, 'Sterne');
-- a comment; with a semicolon
INSERT INTO books (id, author_id, title) VALUES (1, 2, 'Tristram Shandy'), (2, 1, 'The Third Policeman');
