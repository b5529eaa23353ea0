package server

import (
	"net/http"

	"github.com/google/uuid"

	"syncplane/pkg/api"
)

// Routes returns the handler of the local server: the documentation, the key set, the
// stream of events if there is one, and the API for all other paths. The root redirects
// to the documentation. The API does not go through the mux, which would clean paths
// that API Gateway passes on unchanged.
func Routes(gateway Gateway, keys []byte, stream http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /docs", docsPage())
	mux.Handle("GET "+docs, docsPage())
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	// For a function that `sam local` runs; it fetches the key set from the host.
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(keys)
	})
	for _, path := range []string{"/docs", docs, "/.well-known/jwks.json"} {
		mux.HandleFunc("OPTIONS "+path, options)
	}
	if stream != nil {
		mux.Handle(StreamPath, stream)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		gateway.ServeHTTP(w, r)
	})
}

// readable is the Allow header of a read-only path.
const readable = "GET, HEAD, OPTIONS"

// options handles OPTIONS for a read-only path as the API does.
func options(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Allow", readable)
	header.Set(api.RequestIDHeader, uuid.NewString())
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNoContent)
}
