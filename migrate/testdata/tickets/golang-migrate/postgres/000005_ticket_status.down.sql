DROP TYPE ticket_status;
