package server

import (
	"net/http"

	"github.com/rs/cors"

	"syncplane/pkg/api"
)

// preflightAge is how long a browser may keep the answer to a preflight request, in
// seconds. Our own choice.
const preflightAge = 600

// AllowOrigins returns next with the headers of CORS (the Fetch standard, section 3.2)
// for the pages of some origins, such as http://localhost:3000, or of all for "*".
// Without an origin it returns next.
//
// Cookies are not allowed: requests carry a bearer token, which a page of another
// origin does not have.
func AllowOrigins(next http.Handler, origins []string) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{
			"Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", api.WorkspaceHeader,
		},
		ExposedHeaders: []string{
			"ETag", "Location", "Idempotent-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After", "Warning", "WWW-Authenticate", api.RequestIDHeader,
		},
		MaxAge: preflightAge,
	}).Handler(next)
}
