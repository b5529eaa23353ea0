package httpfunc

// For tests of the init phase, which Run includes.
var (
	Warm  = warm
	Prime = prime
)
