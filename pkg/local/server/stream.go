package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/api"
	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/storage/bolt"
)

// StreamPath is the path of the stream of events.
const StreamPath = "/api/v1/events"

// The intervals of a stream. Our own choices: many proxies close a connection after
// 30 s without data, and a revoked key is refused within a minute.
const (
	heartbeat    = 15 * time.Second
	recheck      = 15 * time.Second
	writeTimeout = 10 * time.Second

	// maxUnverified is how long a stream continues while its token cannot be
	// verified; together with recheck it is one minute.
	maxUnverified = 45 * time.Second
)

// maxEvents is how many events are read from the feed at once.
const maxEvents = 200

// lastEventID is the header in which a client sends the id of the last event
// that it has (HTML standard, section 9.2.4).
const lastEventID = "Last-Event-ID"

// Stream serves the events of the caller's workspace as Server-Sent Events (the
// HTML standard, section 9.2), from now on or after the event in Last-Event-ID.
// Events that are no longer kept or cannot be read are replaced by an event "gap". The
// first block of a stream, and every heartbeat, has an id and no data: a client stores
// the id and dispatches no event, so that it can reconnect without a gap (section
// 9.2.6).
//
// A stream ends when its client disconnects or does not read, when the server stops
// and when Caller no longer accepts its token. If Caller returns fault.Unavailable, it
// ends within a minute.
type Stream struct {
	Store  *bolt.Store
	Origin string
	Caller func(ctx context.Context, authorization string) (auth.Caller, error)
	Fail   func(w http.ResponseWriter, r *http.Request, err error)
	Done   <-chan struct{} // closed when the server stops
	Now    func() time.Time
	Log    *slog.Logger

	Heartbeat    time.Duration // between comments on a stream without events; 15 s if zero
	Recheck      time.Duration // between two verifications of the token; 15 s if zero
	WriteTimeout time.Duration // for the client to read an event; 10 s if zero
}

// ServeHTTP streams until the stream ends.
func (s Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Header.Set(api.RequestIDHeader, uuid.NewString())
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		options(w, r)
		return
	default:
		w.Header().Set("Allow", readable)
		s.Fail(w, r, &fault.Error{Kind: fault.MethodNotAllowed, Code: "method_not_allowed", Message: "what is possible here: " + readable})
		return
	}
	who, err := s.caller(r)
	var after uint64
	if err == nil {
		after, err = s.after(r.Header.Values(lastEventID))
	}
	if err != nil {
		s.Fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set(api.RequestIDHeader, r.Header.Get(api.RequestIDHeader))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := &streamWriter{w: w, control: http.NewResponseController(w), now: s.Now, timeout: cmp.Or(s.WriteTimeout, writeTimeout)}
	s.logEnd(r, who, s.run(r, out, who, after), out.err)
}

// caller returns the caller if it may read the stream.
func (s Stream) caller(r *http.Request) (auth.Caller, error) {
	who, err := s.Caller(r.Context(), r.Header.Get("Authorization"))
	if err == nil {
		err = auth.Check(who, auth.ReadSyncs)
	}
	return who, err
}

// after returns the sequence number of the last event that the client has.
func (s Stream) after(sent []string) (uint64, error) {
	newest, err := s.Store.LastSequence()
	if err != nil || len(sent) == 0 || len(sent) == 1 && sent[0] == "" {
		return newest, err
	}
	after, err := strconv.ParseUint(sent[0], 10, 63)
	if err != nil || len(sent) > 1 || sent[0] != strconv.FormatUint(after, 10) {
		return 0, malformed("invalid_header", "Last-Event-ID must be the id of an event of this stream, which is a number")
	}
	if after > newest {
		return 0, malformed("unknown_event_id", fmt.Sprintf("Last-Event-ID must be the id of an event of this stream, of which the newest is %d, got %d", newest, after))
	}
	return after, nil
}

func malformed(code, detail string) error {
	return &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{Header: lastEventID, Code: code, Detail: detail}}}
}

// run writes the events after a sequence number. It returns the error of the store or
// of Caller; the error of the connection is in out.
func (s Stream) run(r *http.Request, out *streamWriter, who auth.Caller, after uint64) error {
	beat := time.NewTicker(cmp.Or(s.Heartbeat, heartbeat))
	defer beat.Stop()
	check := time.NewTicker(cmp.Or(s.Recheck, recheck))
	defer check.Stop()
	verified := s.Now()
	out.printf(": the events of this workspace\nid: %d\n\n", after)
	more := make(chan struct{})
	close(more)
	for {
		_, changed := s.Store.Head()
		sent, err := s.send(out, who.Workspace, after)
		if err != nil {
			return err
		}
		if out.flush(); out.failed() {
			return nil
		}
		if sent > after { // there may be more in the feed
			changed = more
		}
		after = sent
		select {
		case <-changed:
		case <-beat.C:
			out.printf(": still here\nid: %d\n\n", after)
		case <-check.C:
			err := s.verify(r, who)
			switch {
			case err == nil:
				verified = s.Now()
			case fault.Is(err, fault.Unavailable) && s.Now().Sub(verified) < maxUnverified:
				s.Log.LogAttrs(r.Context(), slog.LevelWarn, "token not verified", logAttrs(r, who, err)...)
			default:
				out.printf(": the token is no longer accepted\n\n")
				out.flush()
				return err
			}
		case <-r.Context().Done():
			return nil
		case <-s.Done:
			return nil
		}
	}
}

// verify returns nil if the token is still valid for the workspace of the caller.
func (s Stream) verify(r *http.Request, who auth.Caller) error {
	now, err := s.caller(r)
	if err == nil && now.Workspace != who.Workspace {
		err = fault.New(fault.Unauthenticated, "invalid_token", "the token is now for another workspace")
	}
	return err
}

// send writes a batch of events after a sequence number and returns the sequence number
// of the last one that was read.
func (s Stream) send(out *streamWriter, workspace string, after uint64) (uint64, error) {
	entries, err := s.Store.Events(after, maxEvents)
	if err != nil {
		return after, err
	}
	for _, e := range entries {
		if out.failed() {
			break
		}
		if missing := after + 1; missing < e.Sequence {
			out.printf("id: %[2]d\nevent: gap\ndata: {\"from\":%[1]d,\"to\":%[2]d}\n\n", missing, e.Sequence-1)
		}
		after = e.Sequence
		if e.Workspace == workspace {
			out.printf("id: %d\nevent: %s\ndata: %s\n\n", e.Sequence, e.Kind, oneLine(e.Append(nil, s.Origin)))
		}
	}
	return after, nil
}

// oneLine replaces the line breaks of a JSON text with spaces, in place. JSON has line
// breaks only between tokens (RFC 8259, section 2), so the value stays the same; in an
// event each of CR, LF and CRLF would end the line.
func oneLine(text []byte) []byte {
	for i, c := range text {
		if c == '\n' || c == '\r' {
			text[i] = ' '
		}
	}
	return text
}

// logEnd logs why a stream ended, unless its client disconnected or the server stops.
// read is the error of run, write that of the connection.
func (s Stream) logEnd(r *http.Request, who auth.Caller, read, write error) {
	level, err := slog.LevelInfo, read
	switch kind := fault.KindOf(read); {
	case errors.Is(write, os.ErrDeadlineExceeded):
		err = fmt.Errorf("the client does not read: %w", write)
	case read == nil || r.Context().Err() != nil:
		return
	case kind != fault.Unauthenticated && kind != fault.Forbidden:
		level = slog.LevelError
	}
	s.Log.LogAttrs(context.WithoutCancel(r.Context()), level, "stream ended", logAttrs(r, who, err)...)
}

func logAttrs(r *http.Request, who auth.Caller, err error) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", r.Header.Get(api.RequestIDHeader)),
		slog.String("path", StreamPath),
		slog.String("workspace", who.Workspace),
		slog.String("error", err.Error()),
	}
}

// streamWriter writes to a client with a timeout for each write. After the first error
// it does nothing.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
	timeout time.Duration
	err     error
}

func (w *streamWriter) printf(format string, values ...any) {
	w.write(func() error {
		_, err := fmt.Fprintf(w.w, format, values...) //nolint:gosec // text/event-stream with nosniff is no HTML
		return err
	})
}

func (w *streamWriter) failed() bool { return w.err != nil }

func (w *streamWriter) flush() { w.write(w.control.Flush) }

func (w *streamWriter) write(write func() error) {
	if w.err == nil {
		w.err = w.control.SetWriteDeadline(w.now().Add(w.timeout))
	}
	if w.err == nil {
		w.err = write()
	}
}
