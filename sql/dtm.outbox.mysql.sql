-- The outbox table in MariaDB and MySQL, as CreateOutboxTable makes it: docs/store_format.md.
CREATE TABLE IF NOT EXISTS dtm_outbox (
  id bigint PRIMARY KEY AUTO_INCREMENT,
  gid varchar(128) COLLATE utf8mb4_bin NOT NULL UNIQUE,
  type varchar(16) NOT NULL,
  definition longblob NOT NULL,
  created datetime NOT NULL DEFAULT CURRENT_TIMESTAMP,
  problem text
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
