-- What has no rating is last whichever the direction. As a number, and not as NULL, it can be in a comparison of rows with
-- the last product of a page, so that a deep page begins in the index. Instances of the release before sort by rating
-- without an index until they are replaced.
CREATE INDEX products_rating_ascending_idx ON catalog.products (coalesce(rating, 'infinity'), id);
CREATE INDEX products_rating_descending_idx ON catalog.products (coalesce(rating, '-infinity'), id);
DROP INDEX catalog.products_rating_id_idx;
DROP INDEX catalog.products_rating_desc_id_idx;
