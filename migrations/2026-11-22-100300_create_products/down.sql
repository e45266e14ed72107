DROP FUNCTION search_distance;
DROP FUNCTION search_query;
DROP TABLE products;
DROP EXTENSION pg_trgm;
