package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"syncplane/pkg/auth"
)

// setting describes a value of type T that a flag or an environment variable sets.
type setting[T any] struct {
	flag     string
	letter   string // of the short form; "" if there is none
	variable string // "" if there is none
	fallback string // the text of the default; "" is the zero T
	kind     string // what the help shows for the value
	usage    string
	values   []string                // the values, for completion; nil if they cannot be listed
	parse    func(string) (T, error) // its error begins with "must be"
}

// variableAnnotation is the annotation of a flag that holds the name of its variable.
const variableAnnotation = "syncplane_variable"

// variablePrefix is the prefix with which each variable takes precedence.
const variablePrefix = "SYNCPLANE_"

// define adds a flag to cmd that sets *to.
func define[T any](cmd *cobra.Command, flags *pflag.FlagSet, to *T, s setting[T]) {
	v := &value[T]{to: to, kind: s.kind, parse: s.parse}
	if s.fallback != "" {
		if err := v.Set(s.fallback); err != nil {
			panic(fmt.Sprintf("the default of --%s %v", s.flag, err)) // a defect that every test finds
		}
	}
	usage := s.usage
	if s.variable != "" {
		usage += " [" + s.variable + "]"
	}
	flag := flags.VarPF(v, s.flag, s.letter, usage)
	if s.kind == kindBool {
		flag.NoOptDefVal = "true"
	}
	if s.variable != "" {
		flag.Annotations = map[string][]string{variableAnnotation: {s.variable}}
	}
	complete := cobra.NoFileCompletions
	if s.values != nil {
		complete = cobra.FixedCompletions(s.values, cobra.ShellCompDirectiveNoFileComp)
	}
	if s.kind != kindFile && s.kind != kindDirectory {
		_ = cmd.RegisterFlagCompletionFunc(s.flag, complete) // the flag was added above
	}
}

// The kinds of values that are treated in a special way: the shell completes the names
// of files, and a boolean flag needs no value.
const (
	kindFile      = "file"
	kindDirectory = "directory"
	kindBool      = "bool" // pflag's name
)

// checkedValue is implemented by the values of all settings.
type checkedValue interface{ checked() }

// value is a flag that is parsed when it is set.
type value[T any] struct {
	to    *T
	text  string
	kind  string
	parse func(string) (T, error)
}

// Set parses the text.
func (v *value[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.to, v.text = parsed, text
	return nil
}

// String returns the text that was parsed.
func (v *value[T]) String() string { return v.text }

// Type returns what the help shows for the value.
func (v *value[T]) Type() string { return v.kind }

func (v *value[T]) checked() {}

// setFromEnvironment sets the flags of cmd that were not given to the values of their
// variables. A variable that is empty counts as not set. The error names every invalid
// variable.
func setFromEnvironment(cmd *cobra.Command, getenv func(string) string) error {
	var faults []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		variable := flag.Annotations[variableAnnotation]
		if flag.Changed || variable == nil {
			return
		}
		for _, name := range []string{variablePrefix + strings.TrimPrefix(variable[0], variablePrefix), variable[0]} {
			text := getenv(name)
			if text == "" {
				continue
			}
			if err := flag.Value.Set(text); err != nil {
				faults = append(faults, name+" "+err.Error())
			} else {
				flag.Changed = true
			}
			return
		}
	})
	if len(faults) > 0 {
		return usageErrorf("%s", strings.Join(faults, "; "))
	}
	return nil
}

// parseText accepts every text.
func parseText(text string) (string, error) { return text, nil }

// parseGiven returns a parser that accepts every text but the empty one, which would
// count as not given. what is its description.
func parseGiven(what string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text == "" {
			return "", fmt.Errorf("must be %s, got %q", what, text)
		}
		return text, nil
	}
}

// isControl reports whether text has a control character, which no header can hold.
func isControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }

// defineIdempotencyKey adds --idempotency-key.
func defineIdempotencyKey(cmd *cobra.Command, to *string, usage string) {
	define(cmd, cmd.Flags(), to, setting[string]{flag: "idempotency-key", kind: "key", usage: usage, parse: func(text string) (string, error) {
		if text == "" || isControl(text) {
			return "", fmt.Errorf("must be 1 to 255 visible ASCII characters, got %q", text)
		}
		return text, nil
	}})
}

// parseTag accepts what a header can hold; the API checks the rest.
func parseTag(text string) (string, error) {
	if text == "" || isControl(text) {
		return "", fmt.Errorf(`must be an ETag such as "3", or *, got %q`, text)
	}
	return text, nil
}

// parseOneOf returns a parser that accepts some texts.
func parseOneOf(values ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(values, text) {
			return "", fmt.Errorf("must be %s, got %q", listOf(values, "or"), text)
		}
		return text, nil
	}
}

func parsePort(text string) (string, error) {
	if _, err := strconv.ParseUint(text, 10, 16); err != nil {
		return "", fmt.Errorf("must be a number from 0 to 65535, got %q", text)
	}
	return text, nil
}

func parseLimit(text string) (int, error) {
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 0, fmt.Errorf("must be a positive integer, got %q", text)
	}
	return limit, nil
}

func parseBool(text string) (bool, error) {
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("must be true or false, got %q", text)
	}
	return value, nil
}

// logLevels returns the levels that --log-level accepts.
func logLevels() []string { return []string{"DEBUG", "INFO", "WARN", "ERROR"} }

// parseLogLevel returns the name of a level in upper case.
func parseLogLevel(text string) (string, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil || !slices.Contains(logLevels(), level.String()) {
		return "", fmt.Errorf("must be %s, got %q", listOf(logLevels(), "or"), text)
	}
	return level.String(), nil
}

// listOf returns "a, b or c", with a conjunction such as "or".
func listOf(values []string, conjunction string) string {
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " " + conjunction + " " + values[last]
}

func parseWorkspace(text string) (string, error) {
	if !auth.ValidWorkspace(text) {
		return "", fmt.Errorf("must be 1 to %d visible ASCII characters other than #, got %q", auth.MaxWorkspace, text)
	}
	return text, nil
}

// parseScopes parses scopes that spaces or commas separate.
func parseScopes(text string) ([]string, error) {
	scopes := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
	if len(scopes) == 0 {
		return nil, fmt.Errorf("must be some of %s, got %q", scopeNames(), text)
	}
	for _, scope := range scopes {
		if !auth.Known(auth.Action(scope)) {
			return nil, fmt.Errorf("must be some of %s, got %q", scopeNames(), scope)
		}
	}
	return scopes, nil
}

// scopeNames returns the names of all scopes, separated by commas.
func scopeNames() string {
	var names []string
	for _, action := range auth.Actions() {
		names = append(names, string(action))
	}
	return strings.Join(names, ", ")
}

// parseAddress accepts an http or https address. The error does not contain the text,
// which may hold a password.
func parseAddress(text string) (string, error) {
	address, err := url.Parse(text)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return "", errors.New("must be an http or https address")
	}
	return text, nil
}

// parseHost accepts an IP address or a host name.
func parseHost(text string) (string, error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return text, nil
	}
	invalid := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	}
	if text == "" || strings.ContainsFunc(text, invalid) {
		return "", fmt.Errorf("must be an IP address or a host name without a port, such as 0.0.0.0, got %q", text)
	}
	return text, nil
}

// parseOrigins parses the origins of web pages, separated by commas or spaces; * stands
// for all.
func parseOrigins(text string) ([]string, error) {
	origins := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
	if len(origins) == 0 {
		origins = []string{text} // which is refused
	}
	for _, origin := range origins {
		address, err := url.Parse(origin)
		if origin != "*" && (err != nil || address.Host == "" || origin != address.Scheme+"://"+address.Host || strings.Contains(origin, "*")) {
			return nil, fmt.Errorf("must be origins such as http://localhost:3000, separated by commas, or *, got %q", origin)
		}
	}
	return origins, nil
}

const day = 24 * time.Hour

// parseDuration parses a duration as time.ParseDuration does, which may begin with
// days, such as 30d or 1d12h.
func parseDuration(text string) (time.Duration, error) {
	invalid := fmt.Errorf("must be a duration such as 30d, 1h or 15m, got %q", text)
	rest, negative := strings.CutPrefix(text, "-")
	var total time.Duration
	if days, after, ok := strings.Cut(rest, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 64)
		if err != nil || n > maxDurationDays {
			return 0, invalid
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			rest = "0s"
		}
	}
	parsed, err := time.ParseDuration(rest)
	if err != nil || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") || total+parsed < total {
		return 0, invalid
	}
	if total += parsed; negative {
		total = -total
	}
	return total, nil
}

// maxDurationDays is the longest duration, in days: about a hundred years. Our own
// choice.
const maxDurationDays = 36525
