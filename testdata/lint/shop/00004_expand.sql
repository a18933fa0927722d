-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.placed_at := now(); RETURN NEW; END $$;
-- +goose StatementEnd
CREATE TRIGGER orders_touch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE orders RENAME COLUMN total TO cents;
ALTER TABLE accounts ADD CONSTRAINT rich CHECK (balance >= 0);
ALTER TABLE orders DROP COLUMN placed_at;
