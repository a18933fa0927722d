/*
 * fill phone;
 */
UPDATE customers SET phone = '+353 ' || lpad(id::text, 7, '0') WHERE phone IS NULL;
