DROP TABLE changes;
DROP TABLE catalog_version;
