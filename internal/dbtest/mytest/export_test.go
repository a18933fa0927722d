package mytest

// Connector is for a test that keeps a pool open beyond its end.
var Connector = connector
