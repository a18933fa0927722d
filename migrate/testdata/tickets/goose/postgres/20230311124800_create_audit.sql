-- +goose Up
CREATE TABLE audit (
    at timestamptz NOT NULL DEFAULT now(),
    year int NOT NULL,
    what text NOT NULL
) PARTITION BY RANGE (year);
CREATE TABLE audit_2024 PARTITION OF audit FOR VALUES FROM (2024) TO (2025);
CREATE TABLE audit_later PARTITION OF audit DEFAULT;

-- +goose Down
DROP TABLE audit;
