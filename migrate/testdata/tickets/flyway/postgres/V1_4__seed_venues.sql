/*
 * seed venues;
 */
INSERT INTO venues (id, name, city) VALUES
    (1, 'O''Hara''s Hall; upstairs', 'Cork'),
    (2, 'The -- Dash', '${city}'),
    (3, 'Gasometer /* old */', 'Wien');
SELECT setval('venues_id_seq', 3);
