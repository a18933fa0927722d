DELIMITER //
CREATE TRIGGER customers_touch BEFORE UPDATE ON customers FOR EACH ROW
BEGIN
    IF NEW.updated_at IS NULL OR NEW.updated_at = OLD.updated_at THEN
        SET NEW.updated_at = NOW(); -- whoever writes; always
    END IF;
END //
DELIMITER ;
