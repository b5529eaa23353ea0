// Command worker executes the runs that a webhook delivers.
package main

import "net/http"

func main() {
	c := newClient()
	c.serve(func(w http.ResponseWriter, r *http.Request) {
		run, status := c.claim(r) // it verifies the signature
		w.WriteHeader(status)     // other than 2xx: the event is delivered again
		go run.execute(copyRows)  // with heartbeats and a report; copyRows is yours
	})
}
