DROP TRIGGER customers_touch;
