package httpfunc

import "context"

// Connection is a connection that Warm opens.
type Connection = connection

// NewConnection returns a connection.
func NewConnection(name string, open func(context.Context) error) Connection {
	return connection{name, open}
}

// For tests of the init phase, which Run includes.
var (
	Warm  = warm
	Prime = prime
)
