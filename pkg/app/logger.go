package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Logger returns a logger that writes JSON lines with the keys that Lambda's own
// log lines have. An unknown level is INFO.
func Logger(output io.Writer, level string) *slog.Logger {
	var least slog.Level
	if least.UnmarshalText([]byte(level)) != nil {
		least = slog.LevelInfo
	}
	return slog.New(lambdaLog{slog.NewJSONHandler(output, &slog.HandlerOptions{
		Level:       least,
		ReplaceAttr: lambdacontext.ReplaceAttr,
	})})
}

// lambdaLog adds Lambda's ID of the invocation, which Lambda's own log lines also
// have. It can differ from API Gateway's ID of the request.
type lambdaLog struct{ slog.Handler }

// Handle adds the ID to r and calls the next handler.
func (l lambdaLog) Handle(ctx context.Context, r slog.Record) error {
	if lambda, ok := lambdacontext.FromContext(ctx); ok {
		r.AddAttrs(slog.String("lambda_request_id", lambda.AwsRequestID))
	}
	if err := l.Handler.Handle(ctx, r); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
