INSERT INTO orders (amount) SELECT i FROM generate_series(1, 2000) i;
