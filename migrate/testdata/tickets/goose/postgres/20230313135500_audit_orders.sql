-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION audit_orders() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO audit (year, what) VALUES (2024, TG_OP || ' of order ' || coalesce(NEW.id, OLD.id) || '; -- no comment');
    RETURN NULL;
END;
$body$;
-- +goose StatementEnd
CREATE TRIGGER orders_audit AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit_orders();

-- +goose Down
DROP TRIGGER orders_audit ON orders;
DROP FUNCTION audit_orders();
