PRAGMA synchronous = OFF;
DROP TABLE IF EXISTS item;
DROP TABLE IF EXISTS place;
CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE item (id INTEGER PRIMARY KEY, place INTEGER, price REAL, name TEXT);
BEGIN;
INSERT INTO place WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    SELECT i, 'place ' || i FROM n;
INSERT INTO item WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < COUNT)
    SELECT i, i * 7919 % 500 + 1, (i * 104729 % 100003) / 100.0, 'item ' || (i * 31337 % 65537) FROM n;
COMMIT;
CREATE INDEX item_place ON item (place, price);
CREATE INDEX item_name ON item (name);
UPDATE item SET price = price + 1 WHERE id % 5 = 0;
DELETE FROM item WHERE id % 11 = 0;
SELECT count(*), sum(price), max(name) FROM item;
