package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
)

// checkedOutput keeps the first error of a write, so that a command whose output is lost
// fails although it does not check each write.
type checkedOutput struct {
	to      io.Writer
	failure error // an *outputError
}

// outputError is the error of a write to standard output.
type outputError struct{ error }

// Unwrap returns the error of the write.
func (e *outputError) Unwrap() error { return e.error }

// Write writes to standard output. After an error it writes nothing more.
func (o *checkedOutput) Write(p []byte) (int, error) {
	if o.failure != nil {
		return 0, o.failure
	}
	n, err := o.to.Write(p)
	if err != nil {
		o.failure = &outputError{err}
	}
	return n, o.failure
}

// defineJSON adds --json to a command and its subcommands.
func defineJSON(cmd *cobra.Command, to *bool) {
	define(cmd, cmd.PersistentFlags(), to, setting[bool]{
		flag: "json", fallback: "false", kind: kindBool, parse: parseBool, usage: "print JSON, as the API returns it; of a list the elements as one array",
	})
}

// printJSON prints a JSON text on lines of its own. Numbers and texts stay as they are.
func printJSON(out io.Writer, text []byte) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(text), "", "  "); err != nil {
		return fmt.Errorf("the response is not JSON: %w", err)
	}
	_, err := fmt.Fprintln(out, indented.String())
	return err
}

// printArray prints JSON texts as one array.
func printArray(out io.Writer, elements []json.RawMessage) error {
	return printJSON(out, append(append([]byte{'['}, bytes.Join(asBytes(elements), []byte{','})...), ']'))
}

func asBytes(elements []json.RawMessage) [][]byte {
	var all [][]byte
	for _, e := range elements {
		all = append(all, e)
	}
	return all
}

// dataOf returns the elements of a page.
func dataOf(page []byte) ([]json.RawMessage, error) {
	var document struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(page, &document); err != nil {
		return nil, fmt.Errorf("decode the page: %w", err)
	}
	return document.Data, nil
}

// printableLines is remote.Printable for a text of several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = remote.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// table prints rows in columns.
type table struct{ *tabwriter.Writer }

// newTable returns a table with a heading.
func newTable(out io.Writer, heading ...any) table {
	t := table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(heading...)
	return t
}

// row adds a row. A value that is absent is a dash.
func (t table) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, textOf(cell))
	}
	fmt.Fprintln(t)
}

// textOf returns the text of a value for people, and a dash for one that is absent.
func textOf(value any) string {
	const none = "-"
	switch v := value.(type) {
	case *string:
		if v == nil || *v == "" {
			return none
		}
		return remote.Printable(*v)
	case *time.Time:
		if v == nil {
			return none
		}
		return v.UTC().Format(time.RFC3339)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case *int64:
		if v == nil {
			return none
		}
		return strconv.FormatInt(*v, 10)
	case *int:
		if v == nil {
			return none
		}
		return strconv.Itoa(*v)
	}
	return remote.Printable(fmt.Sprint(value))
}
