-- The tables of MysqlStore, schema version 1, as it makes them itself if its user may: docs/store_format.md.
CREATE TABLE IF NOT EXISTS dtm_node (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varbinary(255) NOT NULL,
  url varbinary(2048) NOT NULL,
  app varbinary(128) NOT NULL,
  epoch bigint NOT NULL,
  beat bigint NOT NULL,
  heir bigint NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_fence (
  id bigint NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  turn bigint NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_trans (
  id bigint NOT NULL PRIMARY KEY,
  gid varbinary(128) NOT NULL UNIQUE,
  type smallint NOT NULL,
  status smallint NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  finished bigint NOT NULL,
  due bigint,
  owner bigint NOT NULL,
  app varbinary(128) NOT NULL,
  content bigint,
  definition longblob NOT NULL,
  state longblob NOT NULL,
  journal longblob,
  KEY dtm_trans_due (owner, due, id)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_step (
  trans bigint NOT NULL,
  nr bigint NOT NULL,
  step longblob NOT NULL,
  PRIMARY KEY (trans, nr)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_journal (
  trans bigint NOT NULL PRIMARY KEY,
  entries longblob NOT NULL
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_ask (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  gid varbinary(128) NOT NULL,
  kind smallint NOT NULL,
  reason longblob NOT NULL,
  member bigint NOT NULL,
  taker bigint NOT NULL,
  outcome longblob,
  created timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_kv (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  cat varbinary(255) NOT NULL,
  k varbinary(2048) NOT NULL,
  v longblob NOT NULL,
  version bigint NOT NULL,
  created bigint NOT NULL,
  updated bigint NOT NULL,
  UNIQUE KEY (cat, k)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS dtm_meta (
  name varchar(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,
  value varchar(64) CHARACTER SET ascii NOT NULL
) ENGINE = InnoDB;
INSERT IGNORE INTO dtm_meta (name, value) VALUES ('schema_version', '1');
