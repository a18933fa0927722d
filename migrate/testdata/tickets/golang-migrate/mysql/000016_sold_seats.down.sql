DROP VIEW sold_seats;
