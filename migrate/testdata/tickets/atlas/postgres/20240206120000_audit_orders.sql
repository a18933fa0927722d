-- atlas:delimiter \n\n\n

-- audit orders
CREATE FUNCTION audit_orders() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    INSERT INTO audit (year, what) VALUES (2024, TG_OP || ' of order ' || coalesce(NEW.id, OLD.id) || '; -- no comment');
    RETURN NULL;
END;
$body$;


-- audit orders
CREATE TRIGGER orders_audit AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION audit_orders();
