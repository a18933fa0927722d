CREATE TABLE invoices (
  id int NOT NULL AUTO_INCREMENT,
  customer varchar(80) CHARACTER SET utf8mb4 NOT NULL COMMENT 'as on paper',
  amount double NOT NULL,
  due timestamp NULL,
  state enum('open','paid') NOT NULL DEFAULT 'open',
  PRIMARY KEY (id),
  KEY by_customer (customer)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

DELIMITER $$
CREATE PROCEDURE pay(IN i int) BEGIN UPDATE invoices SET state = 'paid' WHERE id = i; END$$
DELIMITER ;
