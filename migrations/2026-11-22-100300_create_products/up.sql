CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE products (
    id uuid PRIMARY KEY,
    sku text NOT NULL UNIQUE CHECK (length(sku) BETWEEN 1 AND 64),
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 200),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- The name without case and accents, in byte order: what names sort by, the same on every machine.
    name_key text COLLATE "C" NOT NULL,
    description text CHECK (length(description) <= 10000),
    status text NOT NULL DEFAULT 'DRAFT' CHECK (status IN ('DRAFT', 'ACTIVE', 'ARCHIVED')),
    -- Money: minor units of an ISO 4217 currency.
    price_amount bigint NOT NULL CHECK (price_amount >= 0),
    price_currency text COLLATE "C" NOT NULL CHECK (price_currency ~ '^[A-Z]{3}$'),
    compare_at_amount bigint CHECK (compare_at_amount >= 0),
    stock integer NOT NULL DEFAULT 0 CHECK (stock >= 0),
    category_id uuid REFERENCES categories (id) ON DELETE RESTRICT,
    tags text[] NOT NULL DEFAULT '{}' CHECK (array_position(tags, NULL) IS NULL),
    attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    media jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(media) = 'array'),
    rating double precision CHECK (rating BETWEEN 0 AND 5),
    external_reference text UNIQUE CHECK (length(external_reference) BETWEEN 1 AND 200),
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- What a search looks at: whole words, and the text whose trigrams catch parts of SKUs and typos.
    search_words tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', name_key), 'A') || to_tsvector('simple', lower(coalesce(description, '')))
    ) STORED,
    search_text text NOT NULL GENERATED ALWAYS AS (lower(sku) || ' ' || name_key) STORED
);
CREATE INDEX products_created_at_id_idx ON products (created_at, id);
CREATE INDEX products_name_key_id_idx ON products (name_key, id);
CREATE INDEX products_price_idx ON products (price_currency, price_amount, id);
CREATE INDEX products_category_id_created_at_id_idx ON products (category_id, created_at, id);
CREATE INDEX products_created_by_idx ON products (created_by);
CREATE INDEX products_tags_idx ON products USING gin (tags);
CREATE INDEX products_search_words_idx ON products USING gin (search_words);
CREATE INDEX products_search_text_idx ON products USING gin (search_text gin_trgm_ops);

-- The words of a search, with quotes for phrases, `or`, and `-` for what must not be there.
CREATE FUNCTION search_query(query text)
RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT websearch_to_tsquery('simple', query)
$$;

-- How far a product is from what was searched: 0 for its very SKU, more the worse it matches.
CREATE FUNCTION search_distance(sku text, search_text text, search_words tsvector, query text)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN lower(sku) = query THEN 0
        WHEN starts_with(lower(sku), query) THEN 1
        ELSE 4 - word_similarity(query, search_text)::double precision
               - ts_rank(search_words, search_query(query))::double precision
    END
$$;
