// Package app holds the wiring that the functions and the command share: the
// configuration for AWS, the clients made from it, and the logger. Its
// subpackages wire one kind of function each. It contains no rule about syncs.
package app
