SET SESSION lock_wait_timeout = 5;
ALTER TABLE invoices ADD COLUMN note text, ADD INDEX by_due (due), MODIFY customer varchar(200);
ALTER TABLE invoices MODIFY state enum('draft','open','paid') NOT NULL DEFAULT 'open';
ALTER TABLE invoices ADD CONSTRAINT positive CHECK (amount > 0);
ALTER TABLE invoices DROP INDEX by_customer;
DELETE FROM invoices WHERE state = 'open' LIMIT 100;
INSERT INTO settings (name, value) VALUES ('vat', '19');
