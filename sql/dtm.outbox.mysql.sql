-- The outbox table in MariaDB and MySQL, as CreateOutboxTable makes it: docs/store_format.md. A table that was made before rows
-- had an owner needs once: ALTER TABLE dtm_outbox ADD COLUMN owner varchar(64) CHARACTER SET ascii COLLATE ascii_bin AFTER created;
CREATE TABLE IF NOT EXISTS dtm_outbox (
  id bigint PRIMARY KEY AUTO_INCREMENT,
  gid varchar(128) COLLATE utf8mb4_bin NOT NULL UNIQUE,
  type varchar(16) NOT NULL,
  definition longblob NOT NULL,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  owner varchar(64) CHARACTER SET ascii COLLATE ascii_bin,
  problem text
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;
