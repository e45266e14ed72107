-- The version register: one row. Every write that a reader could notice raises `v` in its last statement
-- before COMMIT, so versions are gapless and in commit order. `history` names this line of versions: cached
-- entries of another database, or of another life of this one, are never taken for its own.
CREATE TABLE catalog_version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    v bigint NOT NULL DEFAULT 0 CHECK (v >= 0),
    history uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO catalog_version DEFAULT VALUES;

-- The change log: what each version changed, written in the same transaction as the change.
CREATE TABLE changes (
    v bigint NOT NULL,
    n integer NOT NULL,
    entity text NOT NULL CHECK (entity IN ('PRODUCT', 'CATEGORY', 'USER')),
    -- NULL: a bulk write, which may have touched any row of its entity.
    entity_id uuid,
    kind text NOT NULL CHECK (kind IN ('CREATED', 'UPDATED', 'DELETED', 'BULK')),
    before jsonb,
    after jsonb,
    -- No foreign key: the log outlives the accounts that wrote it. NULL: the command line.
    actor_id uuid,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (v, n),
    CHECK ((entity_id IS NULL) = (kind = 'BULK'))
);
CREATE INDEX changes_entity_id_v_idx ON changes (entity_id, v);
