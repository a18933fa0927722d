/*
 * merge doubles;
 */
DELIMITER $$
CREATE PROCEDURE merge_doubles()
BEGIN
    DECLARE done INT DEFAULT 0;
    DECLARE one BIGINT;
    DECLARE found CURSOR FOR SELECT id FROM customers WHERE id % 20 = 0 ORDER BY id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET done = 1;
    OPEN found;
    each_one: LOOP
        FETCH found INTO one;
        IF done THEN
            LEAVE each_one;
        END IF;
        UPDATE customers SET newsletter = 1 WHERE id = one;
    END LOOP;
    CLOSE found;
END$$
CALL merge_doubles()$$
DROP PROCEDURE merge_doubles$$
DELIMITER ;
