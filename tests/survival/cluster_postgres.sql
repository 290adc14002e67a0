-- What cluster_test.py needs besides the tables of the store and of the barriers: the business, and who changed what when.
CREATE TABLE effect (gid text NOT NULL, step int NOT NULL, op text NOT NULL);

CREATE TABLE changed (
  id bigint, gid text, version0 bigint, version1 bigint, owner0 bigint, owner1 bigint, status0 int, status1 int, at bigint
);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO changed VALUES (
    coalesce(new.id, old.id), coalesce(new.gid, old.gid), coalesce(old.version, 0), coalesce(new.version, 0),
    coalesce(old.owner, 0), coalesce(new.owner, 0), coalesce(old.status, 0), coalesce(new.status, 0),
    extract(epoch FROM clock_timestamp()) * 1000000
  );
  RETURN NULL;
END $$;
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON dtm_trans FOR EACH ROW EXECUTE FUNCTION note_change();

CREATE TABLE member_changed (id bigint, heir0 bigint, heir1 bigint, at bigint);
CREATE FUNCTION note_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF old.heir IS DISTINCT FROM new.heir THEN
    INSERT INTO member_changed VALUES (coalesce(new.id, old.id), old.heir, new.heir, extract(epoch FROM clock_timestamp()) * 1000000);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER note_member AFTER INSERT OR UPDATE OR DELETE ON dtm_node FOR EACH ROW EXECUTE FUNCTION note_member();
