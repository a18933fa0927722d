UPDATE customers SET newsletter = 0;
