-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now(); -- whoever writes; always
    RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER customers_touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();

-- +goose Down
DROP TRIGGER customers_touch ON customers;
DROP FUNCTION touch();
