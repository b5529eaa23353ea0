package main

import "fmt"

// bounds checks bounds and counts those that are missed.
type bounds struct{ missed int }

// check prints whether a bound holds.
func (b *bounds) check(what string, got, most float64) {
	verdict := "PASS"
	if got > most {
		verdict = "FAIL"
		b.missed++
	}
	fmt.Printf("%s %s: %.2f, at most %.2f\n", verdict, what, got, most)
}

// err returns an error if a bound was missed.
func (b *bounds) err() error {
	if b.missed > 0 {
		return fmt.Errorf("%d bounds are missed", b.missed)
	}
	return nil
}
