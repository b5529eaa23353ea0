// Package awsfake implements EventBridge, EventBridge Scheduler and SQS in memory, in the
// process of a test: the operations that this project calls, with the limits and
// errors of their API references. A test can have any call refused. It knows
// nothing of this project's events. `make verify` runs tests over moto's server
// instead, an independent implementation.
package awsfake

import (
	"cmp"
	"crypto/md5" //nolint:gosec // as SQS does
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// The limits of a PutEvents call (EventBridge API reference).
const (
	maxEntries    = 10
	maxEntryBytes = 256 << 10
	timeBytes     = 14
)

// The limits of a SendMessage call (SQS API reference).
const (
	maxMessageBytes = 1 << 20
	maxDelaySeconds = 900
)

// maxPage is how many schedules a page has at most (Scheduler API reference).
const maxPage = 100

// Entry is an event on a bus.
type Entry struct {
	EventBusName string   `json:"EventBusName"` //nolint:tagliatelle // EventBridge's names
	Source       string   `json:"Source"`       //nolint:tagliatelle // as above
	DetailType   string   `json:"DetailType"`   //nolint:tagliatelle // as above
	Detail       string   `json:"Detail"`       //nolint:tagliatelle // as above
	Time         float64  `json:"Time"`         //nolint:tagliatelle // as above
	Resources    []string `json:"Resources"`    //nolint:tagliatelle // as above
}

// size returns the size of an entry as EventBridge counts it, in bytes.
func (e Entry) size() int {
	n := len(e.Source) + len(e.DetailType) + len(e.Detail)
	if e.Time != 0 {
		n += timeBytes
	}
	for _, r := range e.Resources {
		n += len(r)
	}
	return n
}

// Message is a message that was sent to a queue.
type Message struct {
	QueueURL     string `json:"QueueUrl"`     //nolint:tagliatelle // SQS's names
	MessageBody  string `json:"MessageBody"`  //nolint:tagliatelle // as above
	DelaySeconds int    `json:"DelaySeconds"` //nolint:tagliatelle // as above

	MessageAttributes map[string]any `json:"MessageAttributes"` //nolint:tagliatelle // as above
}

// queued is a message in a queue. A message that was received stays invisible.
type queued struct {
	Message

	handle   string
	received bool
}

// Error is an error response of AWS. Status 0 is 400.
type Error struct {
	Status int
	Code   string // such as ThrottlingException
}

// Call is a call of an operation.
type Call struct {
	Operation string  // such as PutEvents, CreateSchedule
	Schedule  string  // the name of the schedule, "" for other operations
	Entries   []Entry // of PutEvents
	Message   Message // of SendMessage
}

// Server implements these services. Its zero value is ready to use; set Refuse and
// RefuseEntry before the first call. It is an http.Handler and an HTTP client for
// the AWS SDK.
type Server struct {
	// Refuse is called before each call takes effect, and returns the error to
	// respond with, nil for none. It may change the server, as a concurrent
	// client would.
	Refuse func(Call) *Error
	// RefuseEntry returns the error code of one entry of a PutEvents call, "" to
	// accept the entry.
	RefuseEntry func(Entry) string
	// Now is the time source of Scheduler; nil is the time of the machine.
	Now func() time.Time
	// Unordered has ListSchedules return the schedules in another order than that of
	// their names, which its reference leaves open.
	Unordered bool
	// PageSize is how many schedules a page of ListSchedules has at most; 0 is the
	// limit of its reference. A small one gives a test many pages of few schedules.
	PageSize int

	mu        sync.Mutex
	names     map[string][]string // of each group, sorted; absent after a change
	calls     []Call
	entries   []Entry
	messages  []Message
	queued    []*queued
	schedules map[string]map[string]stored // by group and name
	outputs   map[string]string
}

// stored is a schedule: the response of GetSchedule, and its entry in that of
// ListSchedules.
type stored struct{ schedule, summary json.RawMessage }

// SetOutputs sets the outputs of the only stack of CloudFormation.
func (s *Server) SetOutputs(outputs map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outputs = outputs
}

// Start serves s on loopback until the test ends, and returns its address.
func (s *Server) Start(tb interface{ Cleanup(func()) }) string {
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return server.URL
}

// Calls returns the calls so far, refused ones included.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Entries returns the events that were put since the last call of Entries.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := s.entries
	s.entries = nil
	return entries
}

// Messages returns the messages that were sent since the last call of Messages.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := s.messages
	s.messages = nil
	return messages
}

// Schedules returns the names of a group's schedules, sorted.
func (s *Server) Schedules(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.schedules[group]))
}

// CopySchedules adds those schedules of another Server whose names are wanted.
func (s *Server) CopySchedules(from *Server, wanted func(name string) bool) {
	from.mu.Lock()
	defer from.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schedules == nil {
		s.schedules = map[string]map[string]stored{}
	}
	for group, schedules := range from.schedules {
		if s.schedules[group] == nil {
			s.schedules[group] = map[string]stored{}
		}
		for name, schedule := range schedules {
			if wanted(name) {
				s.schedules[group][name] = schedule
			}
		}
	}
	s.names = nil
}

// Clear removes all schedules, events, messages and recorded calls.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedules, s.names, s.calls, s.entries, s.messages, s.queued = nil, nil, nil, nil, nil, nil
}

// Do handles a request in this process, without a connection.
func (s *Server) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// ServeHTTP handles a call of any of the services.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, Error{Code: "SerializationException"}, err.Error())
		return
	}
	switch r.Header.Get("X-Amz-Target") {
	case "AWSEvents.PutEvents":
		s.putEvents(w, body)
		return
	case "AmazonSQS.SendMessage":
		s.sendMessage(w, body)
		return
	case "AmazonSQS.ReceiveMessage":
		s.receiveMessage(w, body)
		return
	case "AmazonSQS.DeleteMessage", "AmazonSQS.ChangeMessageVisibility":
		s.handleMessage(w, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."), body)
		return
	}
	if strings.HasPrefix(string(body), "Action=DescribeStacks") {
		s.describeStacks(w)
		return
	}
	s.schedule(w, r, body)
}

// record records a call. If the test refuses it, record writes the response.
func (s *Server) record(w http.ResponseWriter, call Call) (refused bool) {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	if s.Refuse == nil {
		return false
	}
	e := s.Refuse(call)
	if e != nil {
		refuse(w, *e, "refused by the test")
	}
	return e != nil
}

func (s *Server) putEvents(w http.ResponseWriter, body []byte) {
	var in struct {
		Entries []Entry `json:"Entries"` //nolint:tagliatelle // EventBridge's name
	}
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, Error{Code: "SerializationException"}, err.Error())
		return
	}
	if s.record(w, Call{Operation: "PutEvents", Entries: in.Entries}) {
		return
	}
	size := 0
	for _, e := range in.Entries {
		size += e.size()
	}
	if n := len(in.Entries); n < 1 || n > maxEntries || size > maxEntryBytes {
		refuse(w, Error{Code: "ValidationException"}, fmt.Sprintf("%d entries of %d bytes", n, size))
		return
	}
	type result struct {
		EventID      string `json:"EventId,omitempty"`      //nolint:tagliatelle // EventBridge's names
		ErrorCode    string `json:"ErrorCode,omitempty"`    //nolint:tagliatelle // as above
		ErrorMessage string `json:"ErrorMessage,omitempty"` //nolint:tagliatelle // as above
	}
	results := make([]result, 0, len(in.Entries))
	failed := 0
	for _, e := range in.Entries {
		code := ""
		switch {
		case s.RefuseEntry != nil:
			code = s.RefuseEntry(e)
		case !json.Valid([]byte(e.Detail)):
			code = "MalformedDetail"
		}
		if code != "" {
			failed++
			results = append(results, result{ErrorCode: code, ErrorMessage: "refused"})
			continue
		}
		results = append(results, result{EventID: uuid.NewString()})
		s.mu.Lock()
		s.entries = append(s.entries, e)
		s.mu.Unlock()
	}
	answer(w, "application/x-amz-json-1.1", map[string]any{"FailedEntryCount": failed, "Entries": results})
}

// sendMessage handles SQS's SendMessage. Clients compare the MD5 of the body.
func (s *Server) sendMessage(w http.ResponseWriter, body []byte) {
	var in Message
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, Error{Code: "SerializationException"}, err.Error())
		return
	}
	if s.record(w, Call{Operation: "SendMessage", Message: in}) {
		return
	}
	if n := len(in.MessageBody); n < 1 || n > maxMessageBytes || in.QueueURL == "" || in.DelaySeconds < 0 || in.DelaySeconds > maxDelaySeconds {
		refuse(w, Error{Code: "InvalidParameterValue"}, fmt.Sprintf("%d bytes to %q after %d s", n, in.QueueURL, in.DelaySeconds))
		return
	}
	s.mu.Lock()
	s.messages = append(s.messages, in)
	s.queued = append(s.queued, &queued{Message: in, handle: uuid.NewString()})
	s.mu.Unlock()
	sum := md5.Sum([]byte(in.MessageBody)) //nolint:gosec // SQS's own check of transmission, not of security
	answer(w, "application/x-amz-json-1.0", map[string]string{"MessageId": uuid.NewString(), "MD5OfMessageBody": hex.EncodeToString(sum[:])})
}

// receiveMessage handles SQS's ReceiveMessage. Delayed messages are not received.
func (s *Server) receiveMessage(w http.ResponseWriter, body []byte) {
	var in struct {
		QueueURL            string `json:"QueueUrl"`            //nolint:tagliatelle // SQS's names
		MaxNumberOfMessages int    `json:"MaxNumberOfMessages"` //nolint:tagliatelle // as above
	}
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, Error{Code: "SerializationException"}, err.Error())
		return
	}
	if s.record(w, Call{Operation: "ReceiveMessage"}) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	messages := []map[string]any{}
	for _, q := range s.queued {
		if len(messages) == max(in.MaxNumberOfMessages, 1) || q.QueueURL != in.QueueURL || q.received || q.DelaySeconds > 0 {
			continue
		}
		q.received = true
		sum := md5.Sum([]byte(q.MessageBody)) //nolint:gosec // SQS's own check of transmission, not of security
		messages = append(messages, map[string]any{
			"MessageId": q.handle, "ReceiptHandle": q.handle, "Body": q.MessageBody, "MD5OfBody": hex.EncodeToString(sum[:]), "MessageAttributes": q.MessageAttributes,
		})
	}
	answer(w, "application/x-amz-json-1.0", map[string]any{"Messages": messages})
}

// handleMessage handles SQS's DeleteMessage, and a ChangeMessageVisibility that makes
// the message visible.
func (s *Server) handleMessage(w http.ResponseWriter, operation string, body []byte) {
	var in struct {
		ReceiptHandle string `json:"ReceiptHandle"` //nolint:tagliatelle // SQS's name
	}
	if err := json.Unmarshal(body, &in); err != nil {
		refuse(w, Error{Code: "SerializationException"}, err.Error())
		return
	}
	if s.record(w, Call{Operation: operation}) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.queued, func(q *queued) bool { return q.handle == in.ReceiptHandle })
	switch {
	case i < 0:
		refuse(w, Error{Code: "ReceiptHandleIsInvalid"}, in.ReceiptHandle)
		return
	case operation == "DeleteMessage":
		s.queued = slices.Delete(s.queued, i, i+1)
	default:
		s.queued[i].received = false
	}
	answer(w, "application/x-amz-json-1.0", struct{}{})
}

// describeStacks handles DescribeStacks of CloudFormation: there is one stack, which has
// the outputs of SetOutputs.
func (s *Server) describeStacks(w http.ResponseWriter) {
	if s.record(w, Call{Operation: "DescribeStacks"}) {
		return
	}
	type output struct {
		OutputKey   string `xml:"OutputKey"`
		OutputValue string `xml:"OutputValue"`
	}
	var stack struct {
		XMLName xml.Name `xml:"DescribeStacksResponse"`
		Outputs []output `xml:"DescribeStacksResult>Stacks>member>Outputs>member"`
	}
	s.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(s.outputs)) {
		stack.Outputs = append(stack.Outputs, output{key, s.outputs[key]})
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	_ = xml.NewEncoder(w).Encode(stack) // if it fails, the client receives a truncated body
}

// schedule handles the operations of Scheduler.
func (s *Server) schedule(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.URL.Path == "/schedules" && r.Method == http.MethodGet {
		if !s.record(w, Call{Operation: "ListSchedules"}) {
			s.list(w, r)
		}
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/schedules/")
	operation := map[string]string{
		http.MethodPost: "CreateSchedule", http.MethodPut: "UpdateSchedule", http.MethodGet: "GetSchedule", http.MethodDelete: "DeleteSchedule",
	}[r.Method]
	if !ok || operation == "" {
		refuse(w, Error{Status: http.StatusNotFound, Code: "UnknownOperationException"}, r.Method+" "+r.URL.Path)
		return
	}
	if s.record(w, Call{Operation: operation, Schedule: name}) {
		return
	}
	group := r.URL.Query().Get("groupName")
	var next stored
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		var err error
		group, next, err = s.store(name, body)
		if err != nil {
			refuse(w, Error{Code: "ValidationException"}, err.Error())
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	current, exists := s.schedules[group][name]
	switch {
	case operation == "CreateSchedule" && exists:
		refuse(w, Error{Status: http.StatusConflict, Code: "ConflictException"}, "schedule "+name+" exists")
	case operation != "CreateSchedule" && !exists:
		refuse(w, Error{Status: http.StatusNotFound, Code: "ResourceNotFoundException"}, "schedule "+name+" does not exist")
	case operation == "GetSchedule":
		answer(w, "application/json", current.schedule)
	case operation == "DeleteSchedule":
		delete(s.schedules[group], name)
		delete(s.names, group)
		answer(w, "application/json", struct{}{})
	default:
		if s.schedules == nil {
			s.schedules = map[string]map[string]stored{}
		}
		if s.schedules[group] == nil {
			s.schedules[group] = map[string]stored{}
		}
		s.schedules[group][name] = next
		if !exists {
			delete(s.names, group)
		}
		answer(w, "application/json", map[string]string{"ScheduleArn": "arn:aws:scheduler:us-east-1:123456789012:schedule/" + group + "/" + name})
	}
}

// store returns the group that a CreateSchedule or UpdateSchedule names, and what is
// stored. An update sets absent members to their defaults
// (Scheduler API reference, UpdateSchedule).
func (s *Server) store(name string, body []byte) (group string, next stored, err error) {
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		return "", stored{}, err
	}
	for _, member := range []string{"ScheduleExpression", "FlexibleTimeWindow", "Target"} {
		if in[member] == nil {
			return "", stored{}, fmt.Errorf("%s is required", member)
		}
	}
	if description, _ := in["Description"].(string); len(description) > 512 {
		return "", stored{}, fmt.Errorf("the Description has %d characters", len(description))
	}
	delete(in, "ClientToken")
	now := time.Now //nolint:forbidigo // Scheduler has a clock of its own
	if s.Now != nil {
		now = s.Now
	}
	in["CreationDate"], in["LastModificationDate"] = now().Unix(), now().Unix() // an update does not keep the former
	in["Name"] = name
	for member, value := range map[string]string{"State": "ENABLED", "GroupName": "default", "ScheduleExpressionTimezone": "UTC"} {
		if in[member] == nil {
			in[member] = value
		}
	}
	group, _ = in["GroupName"].(string)
	if next.schedule, err = json.Marshal(in); err != nil {
		return "", stored{}, err
	}
	summary := map[string]any{}
	for _, member := range []string{"Name", "GroupName", "State", "CreationDate", "LastModificationDate"} {
		summary[member] = in[member]
	}
	next.summary, err = json.Marshal(summary)
	return group, next, err
}

// list handles ListSchedules; the schedules are sorted by name.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	size := cmp.Or(s.PageSize, maxPage)
	if text := query.Get("MaxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			refuse(w, Error{Code: "ValidationException"}, "MaxResults is "+text)
			return
		}
		size = min(size, n)
	}
	group, after, prefix := query.Get("ScheduleGroup"), query.Get("NextToken"), query.Get("NamePrefix")
	s.mu.Lock()
	defer s.mu.Unlock()
	page := struct {
		Schedules []json.RawMessage `json:"Schedules"`           //nolint:tagliatelle // Scheduler's names
		NextToken string            `json:"NextToken,omitempty"` //nolint:tagliatelle // as above
	}{Schedules: []json.RawMessage{}}
	names := s.sorted(group)
	begin, _ := slices.BinarySearch(names, prefix)
	end, _ := slices.BinarySearch(names, prefix+"\x7f")
	names = names[begin:end]
	if s.Unordered {
		names = slices.Clone(names)
		slices.Reverse(names)
	}
	if after != "" {
		names = names[slices.Index(names, after)+1:]
	}
	for i, name := range names {
		if i == size {
			page.NextToken = names[i-1]
			break
		}
		page.Schedules = append(page.Schedules, s.schedules[group][name].summary)
	}
	answer(w, "application/json", page)
}

// sorted returns the names of a group's schedules, sorted. s.mu must be held.
func (s *Server) sorted(group string) []string {
	names, ok := s.names[group]
	if !ok {
		names = slices.Sorted(maps.Keys(s.schedules[group]))
		if s.names == nil {
			s.names = map[string][]string{}
		}
		s.names[group] = names
	}
	return names
}

func answer(w http.ResponseWriter, mediaType string, value any) {
	w.Header().Set("Content-Type", mediaType)
	_ = json.NewEncoder(w).Encode(value) // if it fails, the client receives a truncated body
}

func refuse(w http.ResponseWriter, e Error, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", e.Code)
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": e.Code, "message": message, "Message": message})
}
