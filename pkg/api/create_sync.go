package api

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strings"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// createSync handles POST /api/v1/syncs.
func (a *API) createSync(ctx context.Context, c call) (answer, error) {
	key, once, err := idempotencyKey(c.header)
	if err != nil {
		return answer{}, err
	}
	in, err := readRequest(&a.decoders, c.body)
	refused := in.warned(answer{header: http.Header{}})
	if err != nil {
		return refused, err
	}
	limits, err := a.limit(ctx, c.who.Workspace)
	maps.Copy(refused.header, limits)
	if err != nil {
		return refused, err
	}
	var sync syncs.Sync
	var replayed bool
	if once {
		var print string
		if print, err = fingerprint(c.body); err != nil {
			return refused, err
		}
		sync, replayed, err = a.Syncs.CreateOnce(ctx, c.who, in.draft, key, print)
	} else {
		sync, err = a.Syncs.Create(ctx, c.who, in.draft)
	}
	if err != nil {
		return refused, in.explain(err)
	}
	status := http.StatusOK // as the public document has it
	if c.media == mediaJSONAPI {
		status = http.StatusCreated // as JSON:API wants it
	}
	out := in.warned(c.resource(status, sync, sync.CreatedAt))
	maps.Copy(out.header, limits)
	out.header.Set("Location", pathOf(sync))
	if replayed {
		out.header.Set("Idempotent-Replayed", "true")
	}
	return out, nil
}

// limit takes one create off what the workspace has left, and says so in the
// headers of draft-ietf-httpapi-ratelimit-headers-10. Without a limit there is
// nothing to say.
func (a *API) limit(ctx context.Context, workspace string) (http.Header, error) {
	if a.CreateLimit == nil {
		return http.Header{}, nil
	}
	left, err := a.CreateLimit.Take(ctx, workspace)
	if err != nil && fault.KindOf(err) != fault.Throttled {
		return nil, err
	}
	seconds := func(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
	policy := a.CreateLimit.Policy
	return http.Header{
		"Ratelimit-Policy": {fmt.Sprintf(`"create";q=%d;w=%d`, policy.Quota, seconds(policy.Window))},
		"Ratelimit":        {fmt.Sprintf(`"create";r=%d;t=%d`, left.Remaining, seconds(left.Full))},
	}, err
}

// maxWarnings is how many unknown members are named in an answer.
const maxWarnings = 10

// maxWarned is how much of a pointer a warning repeats, in bytes: all headers
// of a response must fit 10,240 bytes at API Gateway.
const maxWarned = 128

// warning is an answer with nothing but the warnings.
func (in request) warning() answer { return in.warned(answer{header: http.Header{}}) }

// warned names in out the members that were ignored, so that a misspelt
// optional field does not vanish silently. The form is RFC 7234's, section 5.5.
func (in request) warned(out answer) answer {
	for _, pointer := range in.unknown[:min(len(in.unknown), maxWarnings)] {
		out.header.Add("Warning", `299 - "unknown field `+quotable(pointer)+`"`)
	}
	return out
}

// quotable makes text fit for a quoted-string in a header: what is not visible
// ASCII is percent-encoded, what would end the string is escaped, and the rest
// of a long text is left out.
func quotable(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if b.Len() >= maxWarned {
			b.WriteString("...")
			break
		}
		switch c := text[i]; {
		case c < ' ' || c > '~' || c == '%':
			fmt.Fprintf(&b, "%%%02X", c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
