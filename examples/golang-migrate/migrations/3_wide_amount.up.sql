COMMENT ON TABLE orders IS 'amounts are wide; soon';
ALTER TABLE orders ALTER COLUMN amount TYPE bigint;
