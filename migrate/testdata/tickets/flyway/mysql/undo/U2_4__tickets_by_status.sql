DROP INDEX tickets_status ON tickets;
