package tlsdial

// Subject reads the subject from the start of a certificate.
var Subject = subject
