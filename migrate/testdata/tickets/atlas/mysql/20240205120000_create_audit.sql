-- create audit
CREATE TABLE audit (
    id bigint NOT NULL AUTO_INCREMENT,
    at datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
    year int NOT NULL,
    what varchar(200) NOT NULL,
    PRIMARY KEY (id, year)
) PARTITION BY RANGE (year) (
    PARTITION p2024 VALUES LESS THAN (2025),
    PARTITION later VALUES LESS THAN MAXVALUE
);
