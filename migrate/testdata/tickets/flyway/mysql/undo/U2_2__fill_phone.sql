UPDATE customers SET phone = NULL;
