// Package webhook delivers events by HTTP POST: CloudEvents in binary mode, signed
// as Standard Webhooks 1.0 specifies. It reads the feed of the embedded store. The
// events of a sync are delivered in order, those of different syncs concurrently;
// an event that the endpoint refuses for a day becomes a dead letter. It knows
// events and package bolt; it does not know what the events are about.
package webhook

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"syncplane/pkg/backoff"
	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
)

// Bounds and intervals of the deliveries. Standard Webhooks, "Deliverability",
// recommends exponential backoff over days; the API destination of the stack gives
// up after a day too. The other values are our own choices.
const (
	maxInFlight  = 32  // concurrent deliveries
	maxRetrying  = 16  // concurrent deliveries of events that were refused before
	maxBatch     = 100 // events read at once: 25 MB at most
	firstPause   = time.Second
	maxPause     = 5 * time.Minute
	maxAge       = 24 * time.Hour
	minTried     = time.Hour // no event is given up sooner after a start, whatever its age
	maxBehind    = 250_000
	storePause   = time.Second // after an error of the store
	damagedPause = time.Minute // after an error of a damaged file, which a person must replace
	afterPause   = time.Second // in which other events are sent before the one whose response paused all
)

// grace is how long a delivery in flight may take after the sender was stopped, so
// that an event that the endpoint accepts is not sent again.
const grace = 2 * time.Second

// Store holds the events. Tests replace the *bolt.Store by one that returns errors.
type Store interface {
	StartCheckpoint(ctx context.Context, name string) (sequence uint64, err error)
	Head() (sequence uint64, changed <-chan struct{})
	Events(after uint64, limit int) ([]bolt.Entry, error)
	Event(sequence uint64) (e event.Event, ok bool, err error)
	AddPending(ctx context.Context, events []bolt.Pending, checkpoint uint64) error
	Pending() ([]bolt.Pending, error)
	RemovePending(ctx context.Context, sequences ...uint64) error
}

var _ Store = (*bolt.Store)(nil)

// Sender delivers the events of a store.
type Sender struct {
	Client      *Client
	Store       Store
	DeadLetters bolt.DeadLetters
	Origin      string
	Now         func() time.Time
	Log         *slog.Logger

	// MaxBehind is how far the oldest undelivered event may be behind the newest
	// one, in events, before it becomes a dead letter; 250,000 if zero. It bounds
	// the size of the feed.
	MaxBehind uint64
}

// Run delivers events until ctx ends. It starts at the checkpoint of the store or, if
// that was never set, with the events from now on. Events are delivered at least once: a
// crash or an error of the store, such as a full disk, may repeat those in flight. Run
// retries after errors of the store. After a response of 410 it delivers nothing until it
// is called again.
func (s *Sender) Run(ctx context.Context) {
	q := &dispatcher{Sender: s, queues: map[string]*syncQueue{}, queueOf: map[uint64]*syncQueue{}, results: make(chan result), started: s.Now()}
	for ctx.Err() == nil {
		err := q.load(ctx)
		if err == nil {
			q.run(ctx)
			return
		}
		s.log(ctx, err)
		_ = backoff.Sleep(ctx, storePause) // the loop ends with ctx
	}
}

func (s *Sender) log(ctx context.Context, err error) {
	s.Log.LogAttrs(ctx, slog.LevelError, "webhook", slog.String("error", err.Error()))
}

// dispatcher is the state of a running Sender. One goroutine uses it; only the
// deliveries run in goroutines of their own.
type dispatcher struct {
	*Sender

	position     uint64                // the last event that was read from the feed
	queues       map[string]*syncQueue // the queues with events, by ordering key
	ready        readyHeap             // the queues without a delivery in flight
	undelivered  []uint64              // sequence numbers, oldest first; may still hold delivered ones
	queueOf      map[uint64]*syncQueue // the queue of each undelivered event
	delivered    []uint64              // delivered, not yet stored as such
	deadLetters  []bolt.DeadLetter     // given up, not yet stored
	resume       time.Time             // no delivery starts before
	retry        time.Time             // the store is not used before, after an error
	retryLetters time.Time             // the file of the dead letters is not used before, after an error
	gone         bool                  // the endpoint has responded with 410
	inFlight     int                   // deliveries in flight
	retrying     int                   // deliveries in flight of events that were refused before
	started      time.Time             // when this Sender started
	lastAccepted time.Time             // when the endpoint last accepted an event
	results      chan result
}

// syncQueue holds the undelivered events of one sync, in order.
type syncQueue struct {
	key      string
	events   []pendingEvent
	at       time.Time     // no delivery starts before
	pause    time.Duration // before the last attempt
	attempts int           // to deliver the first event
	paused   time.Time     // when a response to the first event last paused all deliveries
	inFlight bool
	index    int // in dispatcher.ready, -1 if it is not there
}

type pendingEvent struct {
	sequence uint64
	since    time.Time
}

// result is the outcome of an attempt to deliver the first event of a queue.
type result struct {
	queue    *syncQueue
	event    event.Event
	found    bool  // the store has the event
	readErr  error // of reading the event
	sendErr  error // of the attempt
	storeErr error // of storing that it was delivered
}

// load reads the events that the last Sender did not deliver.
func (q *dispatcher) load(ctx context.Context) error {
	position, err := q.Store.StartCheckpoint(ctx, bolt.SenderCheckpoint)
	if err != nil {
		return err
	}
	all, err := q.Store.Pending()
	if err != nil {
		return err
	}
	q.position = position
	for _, e := range all {
		q.push(e)
	}
	return nil
}

// push adds an event to its queue.
func (q *dispatcher) push(e bolt.Pending) {
	l := q.queues[e.OrderingKey]
	if l == nil {
		l = &syncQueue{key: e.OrderingKey, index: -1}
		q.queues[e.OrderingKey] = l
	}
	l.events = append(l.events, pendingEvent{e.Sequence, e.Since})
	q.undelivered = append(q.undelivered, e.Sequence)
	q.queueOf[e.Sequence] = l
	q.schedule(l)
}

// pop removes the first event of a queue.
func (q *dispatcher) pop(l *syncQueue) {
	delete(q.queueOf, l.events[0].sequence)
	if l.index >= 0 {
		heap.Remove(&q.ready, l.index)
	}
	l.events, l.attempts, l.paused = l.events[1:], 0, time.Time{}
	if len(l.events) == 0 {
		delete(q.queues, l.key)
	}
	q.schedule(l)
}

// schedule adds a queue to the heap if it has events and no delivery in flight.
func (q *dispatcher) schedule(l *syncQueue) {
	if l.index < 0 && !l.inFlight && len(l.events) > 0 {
		heap.Push(&q.ready, l)
	}
}

// run delivers until ctx ends.
func (q *dispatcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		_, changed := q.Store.Head()
		more, err := q.work(ctx)
		if err != nil && ctx.Err() == nil {
			q.log(ctx, err)
			q.retry = q.Now().Add(storePause)
		}
		q.startDeliveries(ctx)
		if more {
			q.drainResults(ctx)
		} else {
			q.sleep(ctx, changed)
		}
	}
	for q.inFlight > 0 {
		q.finish(ctx, <-q.results)
	}
	if err := q.flush(context.WithoutCancel(ctx)); err != nil {
		q.log(ctx, err)
	}
}

// work does everything that uses the store, unless the store returned an error a
// moment ago. It reports whether there is more to do.
func (q *dispatcher) work(ctx context.Context) (more bool, err error) {
	if q.Now().Before(q.retry) {
		return false, nil
	}
	if more, err = q.readFeed(ctx); err != nil {
		return false, err
	}
	if err := q.expireOldest(ctx); err != nil {
		return false, err
	}
	return more || len(q.deadLetters) == maxBatch && q.storesLetters(), q.flush(ctx)
}

// readFeed reads a batch of events from the feed into the queues.
func (q *dispatcher) readFeed(ctx context.Context) (more bool, err error) {
	entries, err := q.Store.Events(q.position, maxBatch)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	now := q.Now()
	batch := make([]bolt.Pending, 0, len(entries))
	for _, e := range entries {
		batch = append(batch, bolt.Pending{Sequence: e.Sequence, Since: now, OrderingKey: e.Workspace + "\x00" + e.Subject})
	}
	position := entries[len(entries)-1].Sequence
	if err := q.Store.AddPending(ctx, batch, position); err != nil {
		return false, err
	}
	q.position = position
	for _, e := range batch {
		q.push(e)
	}
	return true, nil
}

// expireOldest gives up events that are too far behind, at most maxBatch of them.
func (q *dispatcher) expireOldest(ctx context.Context) error {
	for len(q.undelivered) > 0 && q.queueOf[q.undelivered[0]] == nil {
		q.undelivered = q.undelivered[1:]
	}
	for _, sequence := range q.undelivered {
		if q.position-sequence < cmp.Or(q.MaxBehind, maxBehind) || len(q.deadLetters) >= maxBatch {
			break
		}
		l := q.queueOf[sequence]
		if l == nil || l.inFlight { // delivered, or being delivered
			continue
		}
		e, kept, err := q.Store.Event(sequence)
		if err != nil {
			return err
		}
		if kept {
			q.addDeadLetter(ctx, l, e, "too many events wait")
		} else {
			q.skip(ctx, l)
		}
	}
	return nil
}

// addDeadLetter gives up the first event of a queue, which is e.
func (q *dispatcher) addDeadLetter(ctx context.Context, l *syncQueue, e event.Event, reason string) {
	first := l.events[0]
	q.Log.LogAttrs(ctx, slog.LevelError, "dead letter", slog.Uint64("sequence", first.sequence), slog.String("event", e.ID), slog.String("error", reason))
	q.deadLetters = append(q.deadLetters, bolt.DeadLetter{
		Sequence: first.sequence, Event: e, Origin: q.Origin, Since: first.since, GivenUp: q.Now(), Attempts: l.attempts, Reason: reason,
	})
	q.pop(l)
}

// skip removes the first event of a queue, which is missing from the store or
// cannot be read.
func (q *dispatcher) skip(ctx context.Context, l *syncQueue) {
	q.Log.LogAttrs(ctx, slog.LevelError, "unreadable event", slog.Uint64("sequence", l.events[0].sequence))
	q.delivered = append(q.delivered, l.events[0].sequence)
	q.pop(l)
}

// flush stores which events were delivered or given up. The dead letters are stored
// first, so that a crash in between repeats them instead of losing them.
func (q *dispatcher) flush(ctx context.Context) error {
	if q.storesLetters() {
		q.addLetters(ctx)
	}
	if len(q.delivered) == 0 {
		return nil
	}
	if err := q.Store.RemovePending(ctx, q.delivered...); err != nil {
		return err
	}
	q.delivered = nil
	return nil
}

// storesLetters reports whether there are dead letters to store and their file may be
// used.
func (q *dispatcher) storesLetters() bool {
	return len(q.deadLetters) > 0 && !q.Now().Before(q.retryLetters)
}

// addLetters stores the dead letters. An error delays only them, as they are in a file
// of their own.
func (q *dispatcher) addLetters(ctx context.Context) {
	removed, err := q.DeadLetters.Add(ctx, q.deadLetters...)
	if err != nil {
		q.log(ctx, err)
		wait := storePause
		if errors.Is(err, bolt.ErrDamaged) {
			wait = damagedPause
		}
		q.retryLetters = q.Now().Add(wait)
		return
	}
	if removed > 0 {
		q.Log.LogAttrs(ctx, slog.LevelError, "old dead letters removed", slog.Int("count", removed))
	}
	for _, letter := range q.deadLetters {
		q.delivered = append(q.delivered, letter.Sequence)
	}
	q.deadLetters = nil
}

// startDeliveries starts the deliveries that are due.
func (q *dispatcher) startDeliveries(ctx context.Context) {
	for ctx.Err() == nil {
		if wait, ok := q.next(q.Now()); !ok || wait > 0 {
			return
		}
		l := heap.Pop(&q.ready).(*syncQueue) //nolint:forcetypeassert // the heap holds nothing else
		l.inFlight = true
		q.inFlight++
		if l.attempts > 0 {
			q.retrying++
		}
		sequence := l.events[0].sequence
		go func() { q.results <- q.deliver(ctx, l, sequence) }()
	}
}

// next returns how long to wait before the next delivery. ok is false if no delivery
// may start before another one ends or an event is published. While deliveries
// cannot be stored none starts, since a crash would repeat them all.
func (q *dispatcher) next(now time.Time) (wait time.Duration, ok bool) {
	if q.gone || len(q.ready) == 0 || q.inFlight == maxInFlight {
		return 0, false
	}
	first := q.ready[0] // a queue whose first event was not refused comes first
	if first.attempts > 0 && q.retrying == maxRetrying {
		return 0, false
	}
	wait = max(0, first.at.Sub(now), q.resume.Sub(now))
	if len(q.delivered) > 0 {
		wait = max(wait, q.retry.Sub(now))
	}
	return wait, true
}

// deliver tries to deliver an event once and stores that it was delivered, so that
// concurrent deliveries share a commit.
func (q *dispatcher) deliver(ctx context.Context, l *syncQueue, sequence uint64) result {
	r := result{queue: l}
	if r.event, r.found, r.readErr = q.Store.Event(sequence); r.readErr != nil || !r.found {
		return r
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	if r.sendErr = q.Client.Send(lasting, q.Origin, r.event); r.sendErr == nil {
		r.storeErr = q.Store.RemovePending(context.WithoutCancel(ctx), sequence)
	}
	return r
}

// finish handles the result of a delivery.
func (q *dispatcher) finish(ctx context.Context, r result) {
	l, now := r.queue, q.Now()
	l.inFlight = false
	q.inFlight--
	if l.attempts > 0 {
		q.retrying--
	}
	defer q.schedule(l)
	switch {
	case r.readErr != nil:
		q.log(ctx, r.readErr)
		l.at = now.Add(storePause)
	case !r.found:
		q.skip(ctx, l)
	case r.sendErr == nil:
		if r.storeErr != nil { // flush tries again
			q.log(ctx, r.storeErr)
			q.delivered = append(q.delivered, l.events[0].sequence)
			q.retry = now.Add(storePause)
		}
		l.pause, l.at, q.lastAccepted = 0, time.Time{}, now
		q.pop(l)
	case ctx.Err() != nil: // the attempt may have been canceled
	default:
		q.retryLater(ctx, r)
	}
}

// retryLater schedules another attempt for an event that was not accepted, or gives
// it up.
func (q *dispatcher) retryLater(ctx context.Context, r result) {
	l, now := r.queue, q.Now()
	l.attempts++
	q.Log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("event", r.event.ID), slog.Int("attempts", l.attempts), slog.String("error", r.sendErr.Error()))
	l.pause = min(max(2*l.pause, firstPause), maxPause)
	pause := l.pause/2 + rand.N(l.pause/2) //nolint:gosec // jitter, not a secret
	if refusal, ok := errors.AsType[*RefusalError](r.sendErr); ok {
		pause = max(pause, refusal.RetryAfter)
		switch refusal.Status {
		case http.StatusGone:
			if !q.gone {
				q.Log.LogAttrs(ctx, slog.LevelError, "the webhook is gone (410); no event is delivered until the server is restarted")
			}
			q.gone = true
			return // the event stays pending until the next start
		case http.StatusTooManyRequests, http.StatusServiceUnavailable: // these concern all deliveries
			if refusal.RetryAfter > 0 && q.pauseAll(l, now, refusal.RetryAfter) {
				pause = max(pause, refusal.RetryAfter+afterPause)
			}
		}
	}
	l.at = now.Add(pause)
	first := &l.events[0]
	if first.since.After(now) { // the clock was set back
		first.since = now
	}
	if now.Sub(first.since) >= maxAge && now.Sub(q.started) >= minTried {
		l.at = now
		q.addDeadLetter(ctx, l, r.event, r.sendErr.Error())
	}
}

// pauseAll starts no delivery for a while, as the endpoint requests. It does nothing
// and returns false if a response to the first event of l paused all deliveries
// before and other events were accepted since: the response then concerns that
// event only.
func (q *dispatcher) pauseAll(l *syncQueue, now time.Time, wait time.Duration) bool {
	if !l.paused.IsZero() && q.lastAccepted.After(l.paused) {
		return false
	}
	l.paused = now
	if at := now.Add(wait); at.After(q.resume) {
		q.resume = at
	}
	return true
}

// drainResults handles the results of the deliveries that have ended.
func (q *dispatcher) drainResults(ctx context.Context) {
	for {
		select {
		case r := <-q.results:
			q.finish(ctx, r)
		default:
			return
		}
	}
}

// sleep returns when there is work: a result, a new event, a due delivery, the end
// of ctx, or unsaved deliveries when the store may be used.
func (q *dispatcher) sleep(ctx context.Context, changed <-chan struct{}) {
	now, wait := q.Now(), maxPause
	if next, ok := q.next(now); ok {
		wait = min(wait, next)
	}
	switch failing := q.retry.Sub(now); {
	case failing > 0:
		changed, wait = nil, min(wait, failing)
	case len(q.delivered) > 0 || q.storesLetters():
		return
	case len(q.deadLetters) > 0:
		wait = min(wait, q.retryLetters.Sub(now))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r := <-q.results:
		q.finish(ctx, r)
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// readyHeap is a heap of queues, sorted by the time of their next delivery, then by
// the age of their first event.
type readyHeap []*syncQueue

func (s readyHeap) Len() int { return len(s) }

func (s readyHeap) Less(i, j int) bool {
	if !s[i].at.Equal(s[j].at) {
		return s[i].at.Before(s[j].at)
	}
	return s[i].events[0].sequence < s[j].events[0].sequence
}

func (s readyHeap) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push is heap.Interface's.
func (s *readyHeap) Push(x any) {
	l := x.(*syncQueue) //nolint:forcetypeassert // the heap holds nothing else
	l.index = len(*s)
	*s = append(*s, l)
}

// Pop is heap.Interface's.
func (s *readyHeap) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	l.index = -1
	return l
}
