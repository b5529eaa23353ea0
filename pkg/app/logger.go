package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambdacontext"
)

// Logger writes JSON lines with the names that Lambda's own have. An unknown
// level is INFO.
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

// lambdaLog adds the ID that Lambda gave the invocation, by which its own log
// lines go. It is not always the gateway's.
type lambdaLog struct{ slog.Handler }

// Handle adds the ID and passes r on.
func (l lambdaLog) Handle(ctx context.Context, r slog.Record) error {
	if lambda, ok := lambdacontext.FromContext(ctx); ok {
		r.AddAttrs(slog.String("lambda_request_id", lambda.AwsRequestID))
	}
	if err := l.Handler.Handle(ctx, r); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
