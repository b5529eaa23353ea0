package api

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// createSync handles POST /api/v1/syncs.
func (a *API) createSync(ctx context.Context, c call) (response, error) {
	key, given, err := idempotencyKey(c.header)
	if err != nil {
		return response{}, err
	}
	in, err := syncjson.DecodeCreate(&a.decoders, c.body)
	warned := warningsOf(in)
	refused := func(err error) (response, error) { return warned.addTo(response{header: http.Header{}}), err }
	if err != nil {
		return refused(err)
	}
	var idempotency syncs.IdempotencyKey
	if given {
		fingerprint, err := syncjson.Fingerprint(c.body)
		if err != nil {
			return refused(err)
		}
		now := a.Now()
		idempotency = syncs.IdempotencyKey{Key: key, Fingerprint: fingerprint, Now: now, Expires: now.Add(syncs.KeyLife)}
	}
	made, err := a.createLimited(ctx, c.caller, in.Draft, idempotency)
	if err != nil {
		out, err := refused(in.Explain(locateKey(err)))
		maps.Copy(out.header, made.limitHeaders)
		return out, err
	}
	status := http.StatusOK // as the public API document specifies
	if c.media == mediaJSONAPI {
		status = http.StatusCreated // as JSON:API specifies
	}
	out := warned.addTo(c.syncResponse(status, made.sync, made.sync.CreatedAt))
	maps.Copy(out.header, made.limitHeaders)
	out.header.Set("Location", c.syncPath(made.sync))
	if made.replayed {
		out.header.Set("Idempotent-Replayed", "true")
	}
	return out, nil
}

// locateKey adds the header to faults of the idempotency key.
func locateKey(err error) error {
	return fault.Locate(err, func(f *fault.Field) {
		if f.Name == syncs.KeyField {
			f.Header = "Idempotency-Key"
		}
	})
}

// createResult is the outcome of a create.
type createResult struct {
	sync         syncs.Sync
	replayed     bool        // created by an earlier request with the same key
	limitHeaders http.Header // nil if no token was taken
}

// createLimited creates a sync within the rate limit of the workspace. Invalid
// requests and replays take no token, and a replay succeeds without one.
func (a *API) createLimited(ctx context.Context, who auth.Caller, d syncs.Draft, key syncs.IdempotencyKey) (createResult, error) {
	if a.CreateLimit == nil {
		return a.createUnlimited(ctx, who, d, key)
	}
	if err := d.Validate(); err != nil {
		return createResult{}, err
	}
	if out, err := a.replay(ctx, who, key); err != nil || out.replayed {
		return out, err
	}
	limits, err := a.takeToken(ctx, who.Workspace)
	if fault.Is(err, fault.Throttled) {
		// A concurrent request with this key may have taken the last token.
		if out, err := a.replay(ctx, who, key); err == nil && out.replayed {
			return out, nil
		}
	}
	if err != nil {
		return createResult{limitHeaders: limits}, err
	}
	out, err := a.createUnlimited(ctx, who, d, key)
	if out.replayed || fault.Is(err, fault.Conflict) || fault.Is(err, fault.Invalid) {
		// A concurrent request with this key was first: nothing was created.
		if err := a.CreateLimit.Give(ctx, who.Workspace); err != nil {
			a.Log.LogAttrs(ctx, slog.LevelWarn, "an unused token was not returned", slog.String("error", err.Error()))
		}
		return out, err
	}
	out.limitHeaders = limits
	return out, err
}

// replay returns the outcome of an earlier request with the same key. replayed is
// false if there is no key or no such request.
func (a *API) replay(ctx context.Context, who auth.Caller, key syncs.IdempotencyKey) (createResult, error) {
	if key.Key == "" {
		return createResult{}, nil
	}
	first, ok, err := a.Syncs.Created(ctx, who, key)
	return createResult{sync: first, replayed: ok}, err
}

// createUnlimited creates a sync without a rate limit; at most once for a key.
func (a *API) createUnlimited(ctx context.Context, who auth.Caller, d syncs.Draft, key syncs.IdempotencyKey) (out createResult, err error) {
	if key.Key == "" {
		out.sync, err = a.Syncs.Create(ctx, who, d)
	} else {
		out.sync, out.replayed, err = a.Syncs.CreateOnce(ctx, who, d, key)
	}
	return out, err
}

// takeToken takes a token of the workspace and returns the headers of
// draft-ietf-httpapi-ratelimit-headers-10: r is the number of remaining tokens, t
// the seconds until one more is available, rounded up as Retry-After is.
func (a *API) takeToken(ctx context.Context, workspace string) (http.Header, error) {
	left, err := a.CreateLimit.Take(ctx, workspace)
	if err != nil && !fault.Is(err, fault.Throttled) {
		return nil, err
	}
	seconds := func(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
	policy := a.CreateLimit.Policy
	return http.Header{
		"Ratelimit-Policy": {fmt.Sprintf(`"create";q=%d;w=%d`, policy.Quota, seconds(policy.Window))},
		"Ratelimit":        {fmt.Sprintf(`"create";r=%d;t=%d`, left.Remaining, seconds(left.Next))},
	}, err
}

// maxWarnings is how many Warning headers a response has at most. Our own choice.
const maxWarnings = 10

// The longest texts in a warning, in bytes. Our own choices: together the headers of
// a response stay below 10,240 bytes, the bound of API Gateway.
const (
	maxWarnedPointer = 128 // of a pointer
	maxWarnedCron    = 256 // of a remark about a cron expression
)

// warningsOnly returns a response that has only the warnings.
func warningsOnly(in syncjson.Request) response {
	return withWarnings(in, response{header: http.Header{}})
}

// withWarnings adds Warning headers to out. They name the members that were ignored,
// such as a misspelt optional field, and the steps of a cron expression that do not
// run at equal intervals.
func withWarnings(in syncjson.Request, out response) response { return warningsOf(in).addTo(out) }

// warningsOf returns the warnings about a request.
func warningsOf(in syncjson.Request) warnings {
	var w warnings
	if in.Draft.CronExpression != nil {
		for _, sentence := range schedule.Uneven(*in.Draft.CronExpression) {
			w = append(w, escapeHeaderTo(maxWarnedCron, "/sync/cron_expression: "+sentence))
		}
	}
	w.ignored(in.Unknown)
	return w
}

// warnings are the texts of Warning headers (RFC 7234, section 5.5).
type warnings []string

// ignored adds a warning for each member that was ignored, by its JSON pointer.
func (w *warnings) ignored(pointers []string) {
	for _, pointer := range pointers[:min(len(pointers), maxWarnings)] {
		*w = append(*w, "unknown field "+escapeHeader(pointer))
	}
}

// addTo adds the first of the warnings to out.
func (w warnings) addTo(out response) response {
	for _, text := range w[:min(len(w), maxWarnings)] {
		out.header.Add("Warning", `299 - "`+text+`"`)
	}
	return out
}

// escapeHeader escapes text for a quoted-string in a header: characters other than
// visible ASCII are percent-encoded, quotation marks and backslashes are escaped,
// and a text longer than maxWarnedPointer is shortened.
func escapeHeader(text string) string { return escapeHeaderTo(maxWarnedPointer, text) }

// escapeHeaderTo is escapeHeader with a bound of most bytes.
func escapeHeaderTo(most int, text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if b.Len() >= most {
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
