package apply

// IsSecret reports whether the value of a path is not printed.
var IsSecret = isSecret
