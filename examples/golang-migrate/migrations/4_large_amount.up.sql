UPDATE orders SET amount = 5000000000 WHERE id = 1;
