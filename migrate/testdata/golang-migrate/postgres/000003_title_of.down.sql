DROP FUNCTION title_of(int);
