CREATE EXTENSION IF NOT EXISTS fuzzystrmatch;

-- The very SKU, without regard to capitals, and what it begins with.
CREATE INDEX products_lower_sku_idx ON catalog.products (lower(sku) text_pattern_ops);

-- The words of all names: what a word with a typo, or one that is not typed to its end, may have meant is looked up among
-- them and not among the products. A word stays when its last product goes: it can still be taken for what was meant, and
-- finds nothing.
CREATE TABLE catalog.search_terms (term text COLLATE "C" PRIMARY KEY);

CREATE FUNCTION catalog.add_search_terms(names text[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO catalog.search_terms
    SELECT DISTINCT found.term
    FROM unnest(names) AS name, unnest(tsvector_to_array(to_tsvector('simple', name))) AS found (term)
    -- Waits for nobody where all words are known, as they mostly are.
    WHERE NOT EXISTS (SELECT FROM catalog.search_terms AS known WHERE known.term = found.term)
    ORDER BY 1
    ON CONFLICT DO NOTHING
$$;

-- The triggers act for the tables' owner: whoever may write products need not be told of this table first.
CREATE FUNCTION catalog.note_inserted_terms() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM catalog.add_search_terms(array(SELECT name_key FROM inserted));
    RETURN NULL;
END
$$;
CREATE TRIGGER products_note_inserted_terms AFTER INSERT ON catalog.products
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION catalog.note_inserted_terms();

CREATE FUNCTION catalog.note_renamed_terms() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM catalog.add_search_terms(ARRAY[NEW.name_key]);
    RETURN NULL;
END
$$;
CREATE TRIGGER products_note_renamed_terms AFTER UPDATE OF name_key ON catalog.products
    FOR EACH ROW WHEN (OLD.name_key <> NEW.name_key) EXECUTE FUNCTION catalog.note_renamed_terms();

SELECT catalog.add_search_terms(array(SELECT DISTINCT name_key FROM catalog.products));
CREATE INDEX search_terms_term_idx ON catalog.search_terms USING gin (term gin_trgm_ops);

-- The words of a search, each with up to twenty of which it is a part, or that are a typo away: one letter more, less or
-- another, or two letters swapped; in words of six letters and more two letters. A search with quotes, `or`, `-` or more
-- than eight words has no alternatives: then it is NULL.
CREATE FUNCTION catalog.search_alternatives(query text)
RETURNS tsquery LANGUAGE sql STABLE PARALLEL SAFE SET pg_trgm.word_similarity_threshold = 0.25 AS $$
    SELECT string_agg('(' || choice.terms || ')', ' & ')::tsquery
    FROM tsvector_to_array(to_tsvector('simple', query)) AS words, unnest(words) AS word,
    LATERAL (
        SELECT string_agg('''' || replace(replace(term, '\', '\\'), '''', '''''') || '''', ' | ') AS terms
        FROM (
            SELECT word AS term
            UNION ALL
            (SELECT term
             FROM catalog.search_terms
             WHERE term <> word AND (
                 term = ANY (array(
                     SELECT left(word, at - 1) || substr(word, at + 1, 1) || substr(word, at, 1) || substr(word, at + 2)
                     FROM generate_series(1, least(length(word), 6) - 1) AS at))
                 OR word <% term AND (
                     strpos(term, word) = 1
                     OR length(word) >= 3 AND (
                         strpos(term, word) > 1
                         -- Of longer texts it tells no distance.
                         OR levenshtein_less_equal(left(term, 255), left(word, 255), 2)
                            <= CASE WHEN length(word) >= 6 THEN 2 ELSE 1 END)))
             ORDER BY similarity(term, word) DESC, term
             LIMIT 20)
        ) AS one
    ) AS choice
    -- Of `wall-shelf` the parts are words, too.
    WHERE strpos(word, '-') < 2
        AND cardinality(words) <= 8
        AND query !~ '"|(^|[^[:alnum:]])(-[[:alnum:]]|or([^[:alnum:]]|$))'
$$;

-- `search_distance` is of no use any more. It stays as long as instances of the release before may run beside newer ones.
