ALTER TABLE tickets DROP INDEX tickets_seat;
