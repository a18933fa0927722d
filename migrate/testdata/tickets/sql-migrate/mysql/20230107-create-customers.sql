
-- +migrate Up
-- create customers
CREATE TABLE `customers` (
    `id` bigint NOT NULL AUTO_INCREMENT,
    `email` varchar(120) NOT NULL,
    `full_name` varchar(200) NOT NULL COMMENT 'as on the ticket; first name first',
    `newsletter` tinyint(1) NOT NULL DEFAULT '0',
    `updated_at` datetime NULL,
    PRIMARY KEY (`id`)
) ENGINE=InnoDB;

-- +migrate Down
DROP TABLE customers;
