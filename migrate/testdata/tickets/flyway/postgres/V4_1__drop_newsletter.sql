/*
 * drop newsletter;
 */
ALTER TABLE customers DROP COLUMN newsletter;
