// Package client is a client of the HTTP API, generated from its OpenAPI document. It
// is for the command and for tests; the functions do not link it.
package client

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml ../api/openapi.json
