DROP FUNCTION record_changes(text[], text[], uuid[], jsonb[], jsonb[], uuid);
