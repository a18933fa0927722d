CREATE TRIGGER orders_audit AFTER UPDATE ON orders FOR EACH ROW
BEGIN
    CASE WHEN NEW.total_cents <> OLD.total_cents THEN
        INSERT INTO audit (year, what) VALUES (2024, CONCAT('UPDATE of order ', NEW.id, '; -- no comment'));
    ELSE
        INSERT INTO audit (year, what) VALUES (2024, 'UPDATE');
    END CASE;
END;
