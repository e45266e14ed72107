-- Raises the version and appends changes under it in one statement: the register's row is locked from here to the commit,
-- and every other write waits for that long.
CREATE FUNCTION record_changes(
    entities text[], kinds text[], ids uuid[], befores jsonb[], afters jsonb[], actor uuid
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    version bigint;
BEGIN
    UPDATE catalog_version SET v = v + 1 RETURNING v INTO STRICT version;
    INSERT INTO changes (v, n, entity, kind, entity_id, before, after, actor_id)
    SELECT version, place - 1, entity, kind, id, before, after, actor
    FROM unnest(entities, kinds, ids, befores, afters) WITH ORDINALITY AS told (entity, kind, id, before, after, place);
    RETURN version;
END
$$;
