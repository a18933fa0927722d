DELETE FROM venues;
