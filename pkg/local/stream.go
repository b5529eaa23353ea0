package local

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/access"
	"syncplane/pkg/api"
	"syncplane/pkg/bolt"
	"syncplane/pkg/fault"
)

// StreamPath is where the events of a workspace are.
const StreamPath = "/api/v1/events"

// heartbeat is often enough for proxies that hang up after 30 s of silence.
const heartbeat = 15 * time.Second

// maxEvents is how many events are read from the feed at once.
const maxEvents = 200

// Stream serves the events of the caller's workspace as Server-Sent Events (the
// HTML standard, section 9.2), from now on or from where Last-Event-ID says.
type Stream struct {
	Store  *bolt.Store
	Origin string
	Caller func(ctx context.Context, authorization string) (access.Caller, error)
	Fail   func(w http.ResponseWriter, r *http.Request, err error)
	Done   <-chan struct{} // closed when the server stops

	// Heartbeat is how often a stream without events says that it lives;
	// 15 s if zero.
	Heartbeat time.Duration
}

// ServeHTTP streams until the client goes or the server stops.
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
	who, err := s.Caller(r.Context(), r.Header.Get("Authorization"))
	if err == nil {
		err = access.Check(who, access.ReadSyncs)
	}
	var after uint64
	if err == nil {
		after, err = s.after(r)
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
	_ = s.run(w, r, who.Workspace, after) // its only error is a client that has gone
}

// after is the number of the last event that the client has.
func (s Stream) after(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		last, _ := s.Store.Last()
		return last, nil
	}
	after, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{
			Header: "Last-Event-ID", Code: "invalid_header", Detail: "Last-Event-ID must be the id of an event of this stream, which is a number",
		}}}
	}
	return after, nil
}

func (s Stream) run(w http.ResponseWriter, r *http.Request, workspace string, after uint64) error {
	control := http.NewResponseController(w)
	ticker := time.NewTicker(cmp.Or(s.Heartbeat, heartbeat))
	defer ticker.Stop()
	if _, err := fmt.Fprint(w, ": the events of this workspace\n\n"); err != nil {
		return err
	}
	for {
		_, grown := s.Store.Last()
		sent, err := s.send(w, workspace, after)
		if err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		if sent > after { // perhaps there is more
			after = sent
			continue
		}
		select {
		case <-grown:
		case <-ticker.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return err
			}
		case <-r.Context().Done():
			return nil
		case <-s.Done:
			return nil
		}
	}
}

// send writes what there is after an event, and returns the last one that was
// looked at.
func (s Stream) send(w http.ResponseWriter, workspace string, after uint64) (uint64, error) {
	entries, err := s.Store.Events(after, maxEvents)
	if err != nil {
		return after, err
	}
	for _, e := range entries {
		after = e.Sequence
		if e.Workspace != workspace {
			continue
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Sequence, e.Kind, e.Append(nil, s.Origin)); err != nil {
			return after, err
		}
	}
	return after, nil
}
