package main_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"syncplane/pkg/runs"
)

// machine interprets the part of the Amazon States Language that
// state-machine.yaml uses.
type machine struct {
	t        *testing.T
	copies   bool           // whether the copy succeeds
	vars     map[string]any // "states" and what was assigned
	executed []string       // the states
}

// state is a state of the language.
type state struct {
	Type, Resource, Next string
	End                  bool
	Arguments, Output    any
	Assign               map[string]any
	Retry, Catch         []handler
}

// handler is a retrier or a catcher.
type handler struct {
	ErrorEquals []string
	Assign      map[string]any
	Next        string
	MaxAttempts *int
}

// defaultAttempts is the MaxAttempts of a retrier without one.
const defaultAttempts = 3

// retries reports whether a task that has failed with an error is to be repeated, after
// it has been repeated a number of times. The first retrier of the error decides.
func (s state) retries(code string, times int) bool {
	i := slices.IndexFunc(s.Retry, func(h handler) bool { return h.matches(code) })
	if i < 0 {
		return false
	}
	attempts := defaultAttempts
	if s.Retry[i].MaxAttempts != nil {
		attempts = *s.Retry[i].MaxAttempts
	}
	return times < attempts
}

func (h handler) matches(code string) bool {
	return slices.Contains(h.ErrorEquals, code) || slices.Contains(h.ErrorEquals, "States.ALL")
}

// run executes the machine for an event.
func (m *machine) run(definition []byte, event any) {
	m.t.Helper()
	var all struct {
		StartAt string
		States  map[string]state
	}
	var document any
	if err := yaml.Unmarshal(definition, &document); err != nil {
		m.t.Fatal(err)
	}
	definition, err := json.Marshal(document) // whose names are those of the language
	if err != nil {
		m.t.Fatal(err)
	}
	if err := json.Unmarshal(definition, &all); err != nil { //nolint:musttag // the names are the language's
		m.t.Fatal(err)
	}
	states := map[string]any{"input": event, "context": map[string]any{"Execution": map[string]any{"Name": "execution-1"}}}
	m.vars = map[string]any{"states": states}
	for name := all.StartAt; name != ""; {
		s, ok := all.States[name]
		if !ok {
			m.t.Fatalf("there is no state %q", name)
		}
		m.executed = append(m.executed, name)
		if s.Type == "Succeed" {
			return
		}
		result, code := states["input"], "" // of the state Pass
		if s.Type == "Task" {
			result, code = m.task(s)
		}
		for times := 0; code != "" && s.retries(code, times); times++ {
			result, code = m.task(s)
		}
		assign, output := s.Assign, s.Output
		name = s.Next
		if code != "" {
			i := slices.IndexFunc(s.Catch, func(h handler) bool { return h.matches(code) })
			if i < 0 {
				m.t.Fatalf("the execution fails in %v: %s", m.executed, code)
			}
			assign, output, name = s.Catch[i].Assign, nil, s.Catch[i].Next
		}
		states["result"] = result
		assigned := m.value(assign)
		if output = m.value(output); output == nil {
			output = result
		}
		states["input"] = output
		maps.Copy(m.vars, assigned.(map[string]any))
	}
}

// task executes a task and returns its result, or the name of its error.
func (m *machine) task(s state) (result any, code string) {
	m.t.Helper()
	arguments, ok := m.value(s.Arguments).(map[string]any)
	if !ok {
		m.t.Fatalf("got the arguments %v", s.Arguments)
	}
	if s.Resource == "copy" {
		if arguments["sync"] == nil {
			m.t.Errorf("the copy gets %v", arguments)
		}
		if !m.copies {
			return nil, "Exception"
		}
		return nil, ""
	}
	body, err := json.Marshal(arguments["RequestBody"])
	if err != nil {
		m.t.Fatal(err)
	}
	address, _ := arguments["ApiEndpoint"].(string)
	r, err := http.NewRequestWithContext(m.t.Context(), arguments["Method"].(string), address, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer x") // from the connection
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, "States.Http.Socket"
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	if response.StatusCode >= http.StatusBadRequest {
		return nil, "States.Http.StatusCode." + strconv.Itoa(response.StatusCode)
	}
	var answer any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		m.t.Fatal(err)
	}
	return map[string]any{"ResponseBody": answer, "StatusCode": response.StatusCode}, ""
}

// value returns v with the results of its expressions.
func (m *machine) value(v any) any {
	switch v := v.(type) {
	case string:
		if expression, ok := strings.CutPrefix(v, "{% "); ok {
			return m.eval(strings.TrimSuffix(expression, " %}"))
		}
	case map[string]any:
		all := map[string]any{}
		for key, member := range v {
			all[key] = m.value(member)
		}
		return all
	}
	return v
}

// eval evaluates an expression: texts, paths and calls of $replace, joined by &.
func (m *machine) eval(expression string) any {
	terms := strings.Split(expression, " & ")
	if len(terms) > 1 {
		text := ""
		for _, term := range terms {
			part, ok := m.eval(term).(string)
			if !ok {
				m.t.Fatalf("%s is no text", term)
			}
			text += part
		}
		return text
	}
	if call := regexp.MustCompile(`^\$replace\((.*), '(.*)', '(.*)'\)$`).FindStringSubmatch(expression); call != nil {
		return strings.ReplaceAll(m.eval(call[1]).(string), call[2], call[3])
	}
	if literal, ok := strings.CutPrefix(expression, "'"); ok {
		return strings.TrimSuffix(literal, "'")
	}
	var at any = m.vars
	for name := range strings.SplitSeq(strings.TrimPrefix(expression, "$"), ".") {
		members, ok := at.(map[string]any)
		if !ok || members[name] == nil {
			m.t.Fatalf("%s: there is no %s", expression, name)
		}
		at = members[name]
	}
	return at
}

// TestStateMachine executes the state machine for the event of a queued run, for each
// outcome, and again for a run that has ended.
func TestStateMachine(t *testing.T) {
	t.Parallel()
	definition, err := os.ReadFile("state-machine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		copies bool
		lose   int32
		want   runs.Status
	}{
		"success":     {true, 0, runs.Success},
		"failure":     {false, 0, runs.Failed},
		"lost answer": {true, 1, runs.Success},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.lose.Store(test.lose)
			var message struct{ Records []struct{ Body string } }
			var event struct{ Detail any }                                // the input of the machine
			if err := json.Unmarshal(h.message(), &message); err != nil { //nolint:musttag // the names are SQS's
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(message.Records[0].Body), &event); err != nil { //nolint:musttag // the name is EventBridge's
				t.Fatal(err)
			}
			filled := strings.NewReplacer("${ApiUrl}", h.api.URL, "${ConnectionArn}", "connection", "${CopyFunctionArn}", "copy").Replace(string(definition))
			for _, want := range [][]string{{"Run", "Claim", "Copy", "Finish"}, {"Run", "Claim", "Drop"}} {
				m := &machine{t: t, copies: test.copies}
				m.run([]byte(filled), event.Detail)
				h.want(test.want, "")
				if !slices.Equal(m.executed, want) {
					t.Errorf("got %v, want %v", m.executed, want)
				}
			}
			if run := h.run(); run.Attempt != 1 || run.Executor != "execution-1" {
				t.Errorf("got %+v, want one attempt", run)
			}
		})
	}
}
