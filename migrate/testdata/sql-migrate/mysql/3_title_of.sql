-- +migrate Up
-- +migrate StatementBegin
CREATE PROCEDURE title_of(IN book int)
BEGIN
  DECLARE found varchar(200);
  IF book > 0 THEN
    SELECT title INTO found FROM books WHERE id = book;
  END IF;
  SELECT CASE WHEN found IS NULL THEN '-' ELSE found END;
END;
-- +migrate StatementEnd

-- +migrate Down
DROP PROCEDURE title_of;
