CREATE TABLE settings (
    name varchar(50) PRIMARY KEY,
    value json
);

INSERT INTO settings VALUES ('opening', '{"from": "18:00", "note": "it''s; early"}');

