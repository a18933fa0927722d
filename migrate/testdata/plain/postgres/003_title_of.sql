CREATE FUNCTION title_of(book int) RETURNS text LANGUAGE plpgsql AS $body$
DECLARE found text;
BEGIN
  SELECT title INTO found FROM books WHERE id = book;
  RETURN found; -- the end;
END;
$body$;
