-- A key's change takes along what refers to it. Natively that is one statement for each table; the foreign keys between tables whose types do not
-- meet have to be taken off before, and put back.

-- shape: a key becomes text
-- children: yes
-- native: ALTER TABLE line DROP CONSTRAINT line_of; ALTER TABLE part DROP CONSTRAINT part_doc_fkey; ALTER TABLE line ALTER COLUMN doc TYPE text; ALTER TABLE part ALTER COLUMN doc TYPE text; ALTER TABLE doc ALTER COLUMN id TYPE text, ALTER COLUMN parent TYPE text; ALTER TABLE line ADD CONSTRAINT line_of FOREIGN KEY (doc) REFERENCES doc ON DELETE CASCADE; COMMENT ON CONSTRAINT line_of ON line IS 'of its document'; ALTER TABLE part ADD CONSTRAINT part_doc_fkey FOREIGN KEY (doc) REFERENCES doc ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED
CREATE TABLE doc (id int PRIMARY KEY, parent int CONSTRAINT doc_up REFERENCES doc ON DELETE SET NULL, note varchar(20) DEFAULT 'n');
CREATE TABLE line (doc int NOT NULL CONSTRAINT line_of REFERENCES doc ON DELETE CASCADE, no int, amount numeric(8, 2) CHECK (amount >= 0), PRIMARY KEY (doc, no));
CREATE TABLE part (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, doc int REFERENCES doc ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
CREATE INDEX part_doc ON part (doc) WHERE doc IS NOT NULL;
COMMENT ON CONSTRAINT line_of ON line IS 'of its document';
COMMENT ON CONSTRAINT doc_up ON doc IS 'the one above';
COMMENT ON COLUMN line.doc IS 'whose line';
COMMENT ON TABLE part IS 'parts';
GRANT SELECT, INSERT ON doc TO alice;
GRANT SELECT ON line TO bob WITH GRANT OPTION;
GRANT UPDATE (doc) ON part TO carol;
CREATE STATISTICS line_both (dependencies) ON doc, no FROM line;
ALTER TABLE line ALTER COLUMN doc SET STATISTICS 500;
ALTER TABLE line SET (fillfactor = 80);
INSERT INTO doc SELECT i, nullif(i / 3, 0) FROM generate_series(1, 60) i;
INSERT INTO line SELECT i, n, i FROM generate_series(1, 60) i, generate_series(1, 3) n;
INSERT INTO part (doc) SELECT nullif(i % 7, 0) FROM generate_series(1, 60) i;
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE text;

-- shape: a key becomes numeric beside triggers
-- children: yes
-- native: ALTER TABLE line DROP CONSTRAINT line_doc_fkey; ALTER TABLE line ALTER COLUMN doc TYPE numeric; ALTER TABLE doc ALTER COLUMN id TYPE numeric; ALTER TABLE line ADD CONSTRAINT line_doc_fkey FOREIGN KEY (doc) REFERENCES doc
CREATE TABLE doc (id bigint PRIMARY KEY, note text);
CREATE TABLE line (id int PRIMARY KEY, doc bigint REFERENCES doc, no int);
INSERT INTO doc SELECT i, 'd' || i FROM generate_series(1, 40) i;
INSERT INTO line SELECT i, i, i FROM generate_series(1, 40) i;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nobody wrote to %', TG_TABLE_NAME; END $$;
CREATE TRIGGER before_all BEFORE INSERT OR UPDATE OR DELETE ON doc FOR EACH ROW EXECUTE FUNCTION f();
CREATE TRIGGER lines AFTER INSERT OR UPDATE OR DELETE ON line FOR EACH ROW EXECUTE FUNCTION f('x');
CREATE TRIGGER always BEFORE INSERT OR UPDATE OR DELETE ON line FOR EACH ROW EXECUTE FUNCTION f();
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON line DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f();
ALTER TABLE line ENABLE ALWAYS TRIGGER always;
COMMENT ON TRIGGER lines ON line IS 'told';
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE numeric;

-- shape: a key becomes wider with all that refers to it
-- children: yes
-- native: ALTER TABLE line ALTER COLUMN doc TYPE bigint; ALTER TABLE doc ALTER COLUMN id TYPE bigint; ALTER SEQUENCE doc_id_seq AS bigint
CREATE TABLE doc (id serial PRIMARY KEY, note text);
CREATE TABLE line (id int PRIMARY KEY, doc int CONSTRAINT "line's doc" REFERENCES doc ON DELETE RESTRICT, UNIQUE (doc, id));
COMMENT ON CONSTRAINT "line's doc" ON line IS 'of its document';
INSERT INTO doc (note) SELECT 'd' FROM generate_series(1, 40) i;
INSERT INTO line SELECT i, i FROM generate_series(1, 40) i;
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE bigint;

-- shape: refuses numbers that are equal and look different
-- children: yes
-- refused: can be equal and look different
CREATE TABLE doc (id numeric PRIMARY KEY);
CREATE TABLE line (id int PRIMARY KEY, doc numeric REFERENCES doc);
INSERT INTO doc SELECT i + 0.0 FROM generate_series(1, 40) i;
INSERT INTO line SELECT i, i + 0.00 FROM generate_series(1, 40) i;
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE text;

-- shape: refuses texts of a collation for which a and A are equal
-- children: yes
-- refused: can be equal and look different
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE doc (id text COLLATE blind PRIMARY KEY);
CREATE TABLE line (id int PRIMARY KEY, doc text COLLATE blind REFERENCES doc);
INSERT INTO doc VALUES ('a');
INSERT INTO line VALUES (1, 'A');
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE bytea USING id::bytea;

-- shape: numbers that are equal become equal ones
-- children: yes
-- native: ALTER TABLE line DROP CONSTRAINT line_doc_fkey, DROP CONSTRAINT line_two_fkey; ALTER TABLE doc ALTER COLUMN id TYPE bigint, ALTER COLUMN two TYPE text; ALTER TABLE line ALTER COLUMN doc TYPE bigint, ALTER COLUMN two TYPE text; ALTER TABLE line ADD FOREIGN KEY (doc) REFERENCES doc, ADD FOREIGN KEY (two) REFERENCES doc (two)
CREATE TABLE doc (id numeric PRIMARY KEY, two numeric(8,2) UNIQUE);
CREATE TABLE line (id int PRIMARY KEY, doc numeric REFERENCES doc, two numeric(8,2) REFERENCES doc (two));
INSERT INTO doc SELECT i + 0.0, i FROM generate_series(1, 40) i;
INSERT INTO line SELECT i, i + 0.00, i FROM generate_series(1, 40) i;
-- alter
ALTER TABLE doc ALTER COLUMN id TYPE bigint, ALTER COLUMN two TYPE text;
