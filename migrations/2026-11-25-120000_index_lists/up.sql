-- One index for each order of a list. What changes all the time, as stock does, has none: with one PostgreSQL would have
-- to touch every other index of the row, too, and write thirty times as much for each change.
CREATE INDEX products_rating_id_idx ON products (rating, id);
CREATE INDEX products_rating_desc_id_idx ON products (rating DESC NULLS LAST, id DESC);
CREATE INDEX products_category_id_name_key_id_idx ON products (category_id, name_key, id);
CREATE INDEX products_category_id_price_idx ON products (category_id, price_currency, price_amount, id);
