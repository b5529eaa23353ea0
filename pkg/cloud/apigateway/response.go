package apigateway

import (
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-json-experiment/json/jsontext"
)

// encode returns a response for API Gateway (payload format 2.0) with sorted headers. If
// response has no body, it is that of body.
// encoding/json would take a dozen more allocations for the maps. Invalid UTF-8
// becomes replacement characters; a body with some is base64 already, from the
// adapter.
func encode(response events.APIGatewayV2HTTPResponse, body []byte) []byte {
	const overhead = 1024 // bytes of headers, about
	b := make([]byte, 0, overhead+2*(len(response.Body)+len(body)))
	b = strconv.AppendInt(append(b, `{"statusCode":`...), int64(response.StatusCode), 10)
	b = append(b, `,"headers":{`...)
	names := slices.AppendSeq(make([]string, 0, len(response.Headers)), maps.Keys(response.Headers))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), ':')
		b = appendText(b, response.Headers[name])
	}
	b = append(b, `},"body":`...)
	if response.Body == "" {
		b = appendText(b, body)
	} else {
		b = appendText(b, response.Body)
	}
	if response.IsBase64Encoded {
		b = append(b, `,"isBase64Encoded":true`...)
	}
	b = append(b, `,"cookies":[`...)
	for i, cookie := range response.Cookies {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, cookie)
	}
	return append(b, `]}`...)
}

// appendText appends a JSON string.
func appendText[Text string | []byte](b []byte, text Text) []byte {
	b, _ = jsontext.AppendQuote(b, text) // the error reports invalid UTF-8, which was replaced
	return b
}
