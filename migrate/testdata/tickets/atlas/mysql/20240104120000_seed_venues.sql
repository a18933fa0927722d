-- seed venues
INSERT INTO venues (id, name, city) VALUES
    (1, 'O''Hara''s Hall; upstairs', 'Cork'),
    (2, 'The -- Dash', 'Lyon'),
    (3, 'Gasometer /* old */ # 4', 'Wien');
