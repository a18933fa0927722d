/*
 * fill phone;
 */
UPDATE customers SET phone = CONCAT('+353 ', LPAD(id, 7, '0')) WHERE phone IS NULL;
