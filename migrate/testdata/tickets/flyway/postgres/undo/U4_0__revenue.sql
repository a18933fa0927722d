DROP FUNCTION revenue(bigint);
