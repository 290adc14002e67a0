-- What cluster_test.py needs besides the tables of the store and of the barriers: the business, and who changed what when.
CREATE TABLE effect (n BIGINT AUTO_INCREMENT PRIMARY KEY, gid VARCHAR(128) NOT NULL, step INT NOT NULL, op VARCHAR(45) NOT NULL);

CREATE TABLE changed (
  n BIGINT AUTO_INCREMENT PRIMARY KEY, id BIGINT, gid VARCHAR(128), version0 BIGINT, version1 BIGINT, owner0 BIGINT, owner1 BIGINT,
  status0 INT, status1 INT, at BIGINT
);
CREATE TRIGGER note_insert AFTER INSERT ON dtm_trans FOR EACH ROW
  INSERT INTO changed (id, gid, version0, version1, owner0, owner1, status0, status1, at)
  VALUES (NEW.id, NEW.gid, 0, NEW.version, 0, NEW.owner, 0, NEW.status, UNIX_TIMESTAMP(SYSDATE(6)) * 1000000);
-- An insert of a gid that is there writes its row as it is.
CREATE TRIGGER note_update AFTER UPDATE ON dtm_trans FOR EACH ROW
  INSERT INTO changed (id, gid, version0, version1, owner0, owner1, status0, status1, at)
  SELECT NEW.id, NEW.gid, OLD.version, NEW.version, OLD.owner, NEW.owner, OLD.status, NEW.status, UNIX_TIMESTAMP(SYSDATE(6)) * 1000000
  FROM DUAL WHERE NOT (
    NEW.id = OLD.id AND NEW.gid = OLD.gid AND NEW.type = OLD.type AND NEW.status = OLD.status AND NEW.version = OLD.version
    AND NEW.created = OLD.created AND NEW.finished = OLD.finished AND NEW.due <=> OLD.due AND NEW.owner = OLD.owner
    AND NEW.content <=> OLD.content AND NEW.definition = OLD.definition AND NEW.state = OLD.state AND NEW.journal <=> OLD.journal
  );
CREATE TRIGGER note_delete AFTER DELETE ON dtm_trans FOR EACH ROW
  INSERT INTO changed (id, gid, version0, version1, owner0, owner1, status0, status1, at)
  VALUES (OLD.id, OLD.gid, OLD.version, 0, OLD.owner, 0, OLD.status, 0, UNIX_TIMESTAMP(SYSDATE(6)) * 1000000);

CREATE TABLE member_changed (n BIGINT AUTO_INCREMENT PRIMARY KEY, id BIGINT, heir0 BIGINT, heir1 BIGINT, at BIGINT);
CREATE TRIGGER note_member AFTER UPDATE ON dtm_node FOR EACH ROW
  INSERT INTO member_changed (id, heir0, heir1, at)
  SELECT NEW.id, OLD.heir, NEW.heir, UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 FROM DUAL WHERE OLD.heir <> NEW.heir;
