-- The outbox table in PostgreSQL, as CreateOutboxTable makes it: docs/store_format.md.
CREATE TABLE IF NOT EXISTS dtm_outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gid text COLLATE "C" NOT NULL UNIQUE,
  type text NOT NULL,
  definition bytea NOT NULL,
  created timestamp with time zone NOT NULL DEFAULT now(),
  owner text,
  problem text
);
-- A table that was made before rows had an owner.
ALTER TABLE dtm_outbox ADD COLUMN IF NOT EXISTS owner text;
