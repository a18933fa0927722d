DELETE FROM customers;
DELETE FROM events;
