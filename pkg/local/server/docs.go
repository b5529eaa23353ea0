package server

import (
	"embed"
	"net/http"
	"sync"

	"github.com/swaggest/swgui/v5/static"
	"github.com/vearutop/statigz"
)

// docs is the path of the documentation and of its assets.
const docs = "/docs/"

//go:embed page.html page.css page.js
var docsFiles embed.FS

// policy is the Content-Security-Policy of the documentation: nothing from another
// host, no inline script. Swagger UI sets style attributes and has images in its style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// docsPage returns the handler of the documentation: an HTML page with Swagger UI,
// whose assets package swgui embeds.
func docsPage() http.Handler {
	// statigz reads all files, so not before one of them is requested.
	assets := sync.OnceValue(func() http.Handler { return http.StripPrefix(docs, statigz.FileServer(static.FS)) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		switch r.URL.Path {
		case "/docs", docs:
			http.ServeFileFS(w, r, docsFiles, "page.html")
		case docs + "page.css":
			http.ServeFileFS(w, r, docsFiles, "page.css")
		case docs + "page.js":
			http.ServeFileFS(w, r, docsFiles, "page.js")
		default:
			assets().ServeHTTP(w, r)
		}
	})
}
