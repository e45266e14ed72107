-- A kettle was taken for a bottle: two letters are a typo in words of eight letters and more alone, one in those of four,
-- as search engines of shops have it; two letters that are swapped are one in every word.
CREATE OR REPLACE FUNCTION catalog.search_alternatives(query text)
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
                     FROM generate_series(1, least(length(word), 7) - 1) AS at))
                 OR word <% term AND (
                     strpos(term, word) = 1
                     OR length(word) >= 3 AND (
                         strpos(term, word) > 1
                         -- Of longer texts it tells no distance.
                         OR levenshtein_less_equal(left(term, 255), left(word, 255), 2)
                            <= CASE WHEN length(word) >= 8 THEN 2 WHEN length(word) >= 4 THEN 1 ELSE 0 END)))
             ORDER BY similarity(term, word) DESC, term
             LIMIT 20)
        ) AS one
    ) AS choice
    -- Of `wall-shelf` the parts are words, too.
    WHERE strpos(word, '-') < 2
        AND cardinality(words) <= 8
        AND query !~ '"|(^|[^[:alnum:]])(-[[:alnum:]]|or([^[:alnum:]]|$))'
$$;
