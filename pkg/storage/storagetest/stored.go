package storagetest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The data that the stores of commit 200db47 wrote when its service created the
// syncs of Stored: a file of package bolt, and the items of package dynamo in
// DynamoDB's JSON, one per line.
var (
	//go:embed testdata/stored.db.gz
	storedFile []byte
	//go:embed testdata/stored.jsonl.gz
	storedItems []byte
)

// StoredWorkspace is the workspace of the syncs of Stored.
const StoredWorkspace = "acme"

// Stored returns the IDs of syncs that an early version accepted and that a
// create would refuse or normalize today. The value is a cron expression with the
// same run times, and "" for a sync that runs at an interval of SyncInterval
// minutes.
func Stored() map[string]string {
	const id = "019ab0c4-0000-7000-8000-0000000000"
	return map[string]string{
		id + "01": "0 6 * * 1-5",
		id + "02": "0 0 * * SUN",   // with a long s
		id + "03": "0 0 * * 0,5,6", // FRI-SUN with a long s
		id + "04": "0 6 * * *",     // in 307 characters
		id + "05": "0 6 * * *",     // in 240 KB
		id + "06": "0,45 * * * 1",  // "*/45 * */01 * 1"
		id + "07": "",              // a cursor_field with line breaks around it
		id + "08": "",              // a cursor_field of spaces
		id + "09": "",              // an invisible stream_name
		id + "0a": "",              // another
	}
}

// StoredFile returns the path of a copy of the file that package bolt wrote.
func StoredFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "syncs.db")
	if err := os.WriteFile(path, unzip(tb, storedFile), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// StoredItems returns the items that package dynamo wrote: for each attribute its
// type and value.
func StoredItems(tb testing.TB) []map[string]map[string]string {
	tb.Helper()
	var items []map[string]map[string]string
	for decoder := json.NewDecoder(bytes.NewReader(unzip(tb, storedItems))); decoder.More(); {
		var item map[string]map[string]string
		if err := decoder.Decode(&item); err != nil {
			tb.Fatal(err)
		}
		items = append(items, item)
	}
	return items
}

func unzip(tb testing.TB, zipped []byte) []byte {
	tb.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		tb.Fatal(err)
	}
	unzipped, err := io.ReadAll(reader)
	if err != nil {
		tb.Fatal(err)
	}
	return unzipped
}
