// Command chi is the create endpoint in typical Go: chi behind the adapter for Lambda,
// the AWS SDK with LoadDefaultConfig, and golang-jwt with keyfunc, used as their
// documentation recommends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-playground/validator/v10"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// document is the body of a request.
type document struct {
	Sync *syncFields `json:"sync" validate:"required"`
}

// syncFields are the fields that a client sets.
type syncFields struct {
	SourceID         int64           `json:"source_id" dynamodbav:"source_id" validate:"min=1"`
	DestinationID    int64           `json:"destination_id" dynamodbav:"destination_id" validate:"min=1"`
	ModelID          int64           `json:"model_id" dynamodbav:"model_id" validate:"min=1"`
	Configuration    json.RawMessage `json:"configuration" dynamodbav:"configuration" validate:"required"`
	ScheduleType     string          `json:"schedule_type" dynamodbav:"schedule_type" validate:"eq=automated"`
	SyncMode         string          `json:"sync_mode" dynamodbav:"sync_mode" validate:"eq=full_refresh"`
	SyncInterval     int64           `json:"sync_interval" dynamodbav:"sync_interval" validate:"min=1,max=527040"`
	SyncIntervalUnit string          `json:"sync_interval_unit" dynamodbav:"sync_interval_unit" validate:"eq=minutes"`
	CronExpression   string          `json:"cron_expression,omitempty" dynamodbav:"cron_expression,omitempty"`
	CursorField      string          `json:"cursor_field,omitempty" dynamodbav:"cursor_field,omitempty"`
	StreamName       string          `json:"stream_name" dynamodbav:"stream_name" validate:"required,max=255"`
}

// row is a sync in the table.
type row struct {
	PK string `dynamodbav:"pk"`
	SK string `dynamodbav:"sk"`
	syncFields
	CreatedAt time.Time `dynamodbav:"created_at"`
	UpdatedAt time.Time `dynamodbav:"updated_at"`
}

// claims are those of a token that are evaluated.
type claims struct {
	jwt.RegisteredClaims
	Workspace string `json:"workspace_id"`
	Scope     string `json:"scope"`
}

type server struct {
	client   *dynamodb.Client
	table    string
	keys     jwt.Keyfunc
	validate *validator.Validate
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, code string) {
	respond(w, status, map[string]any{"errors": []map[string]any{{"status": status, "code": code}}})
}

func (s *server) create(w http.ResponseWriter, r *http.Request) {
	var who claims
	_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &who, s.keys,
		jwt.WithValidMethods([]string{"RS256", "PS256", "ES256", "EdDSA"}),
		jwt.WithIssuer(os.Getenv("TOKEN_ISSUER")), jwt.WithAudience(os.Getenv("TOKEN_AUDIENCE")), jwt.WithExpirationRequired())
	if err != nil || who.Workspace == "" {
		refuse(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	if !strings.Contains(" "+who.Scope+" ", " syncs:write ") {
		refuse(w, http.StatusForbidden, "insufficient_scope")
		return
	}
	var in document
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_json")
		return
	}
	if err := s.validate.Struct(in); err != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid")
		return
	}
	id, err := uuid.NewV7()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal")
		return
	}
	now := time.Now().UTC()
	item, err := attributevalue.MarshalMap(row{who.Workspace, "SYNC#" + id.String(), *in.Sync, now, now})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal")
		return
	}
	_, err = s.client.PutItem(r.Context(), &dynamodb.PutItemInput{
		TableName: &s.table, Item: item, ConditionExpression: aws.String("attribute_not_exists(pk)"),
	})
	var exists *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &exists):
		refuse(w, http.StatusConflict, "already_exists")
	case err != nil:
		refuse(w, http.StatusInternalServerError, "internal")
	default:
		respond(w, http.StatusOK, map[string]any{"id": id, "type": "syncs", "attributes": in.Sync})
	}
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	keys, err := keyfunc.NewJWKSetJSON(json.RawMessage(os.Getenv("TOKEN_JWKS")))
	if err != nil {
		log.Fatal(err)
	}
	s := &server{
		client:   dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.BaseEndpoint = aws.String(os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")) }),
		table:    os.Getenv("TABLE_NAME"),
		keys:     keys.Keyfunc,
		validate: validator.New(validator.WithRequiredStructEnabled()),
	}
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer)
	r.Post("/api/v1/syncs", s.create)
	lambda.Start(httpadapter.NewV2(r).ProxyWithContext)
}
