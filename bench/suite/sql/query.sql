SELECT place.name, count(*), round(avg(price), 3), min(item.name) FROM item JOIN place ON place.id = place
    GROUP BY place ORDER BY 3 DESC LIMIT 50;
SELECT a.id, b.id FROM item a JOIN item b ON a.name = b.name AND a.id < b.id ORDER BY a.id LIMIT 200;
SELECT count(*) FROM item WHERE name LIKE '%77%' OR name GLOB 'item 1*9';
SELECT place, price, rank() OVER (PARTITION BY place ORDER BY price) AS place_rank FROM item
    WHERE place < 100 ORDER BY place_rank, place LIMIT 300;
SELECT substr(name, 6, 2) AS head, group_concat(length(name), '') FROM item WHERE id < 20000 GROUP BY head;
