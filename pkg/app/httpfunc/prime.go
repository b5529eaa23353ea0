package httpfunc

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/storage/dynamo"
)

// primer is an event that creates a sync.
const primer = `{"version":"2.0","routeKey":"POST /api/v1/syncs","rawPath":"/api/v1/syncs",` +
	`"headers":{"authorization":"Bearer primer","content-type":"application/json","host":"localhost"},` +
	`"requestContext":{"domainName":"localhost","http":{"method":"POST","path":"/api/v1/syncs","sourceIp":"127.0.0.1"},"requestId":"primer","stage":"$default"},` +
	`"body":"{\"sync\":{\"source_id\":1,\"destination_id\":2,\"model_id\":3,\"schedule_type\":\"automated\",\"configuration\":{},` +
	`\"stream_name\":\"primer\",\"sync_mode\":\"full_refresh\",\"sync_interval\":60,\"sync_interval_unit\":\"minutes\",\"cron_expression\":\"0 6 * * 1-5\"}}"}`

// prime handles a create that is not stored, so that the first request finds its code
// and the heap ready. All but the token and the network is real: a handler of its own
// calls DynamoDB over a pipe.
func prime(ctx context.Context, store *dynamo.Store) error {
	options := store.Client.Options()
	options.BaseEndpoint = aws.String("http://localhost")
	options.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: dialPipe, DisableKeepAlives: true}}
	handler := Handler(Deps{
		Store: &dynamo.Store{Client: dynamodb.New(options), Table: store.Table},
		Caller: func(context.Context, string) (auth.Caller, error) {
			return auth.Caller{Workspace: "primer", Scopes: []string{"syncs:write"}}, nil
		},
		Log: app.Logger(io.Discard, ""),
	})
	response, err := handler.Invoke(ctx, []byte(primer))
	if err == nil && !strings.HasPrefix(string(response), `{"statusCode":200`) {
		err = fmt.Errorf("the response must have status 200, got %s", response)
	}
	return err
}

// dialPipe returns a connection to a server that responds to the first request as
// DynamoDB does to a PutItem.
func dialPipe(context.Context, string, string) (net.Conn, error) {
	const most = 4 << 10 // bytes of the request
	client, server := net.Pipe()
	go func() {
		defer server.Close() //nolint:errcheck // a pipe
		_, _ = server.Read(make([]byte, most))
		_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nX-Amz-Crc32: 2745614147\r\nContent-Length: 2\r\n\r\n{}")
		_, _ = io.Copy(io.Discard, server) // until the client closes it
	}()
	return client, nil
}
