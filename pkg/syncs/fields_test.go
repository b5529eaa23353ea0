package syncs_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/syncs"
)

// TestChangedHasEveryField changes one field of a sync at a time: Changed must name
// each, but for those that identify a version. A field that is added to Sync and not
// to the table of fields fails here.
func TestChangedHasEveryField(t *testing.T) {
	t.Parallel()
	var got []string
	kind := reflect.TypeFor[syncs.Sync]()
	for i := range kind.NumField() {
		var before, after syncs.Sync
		switch field := reflect.ValueOf(&after).Elem().Field(i); field.Interface().(type) {
		case time.Time:
			field.Set(reflect.ValueOf(time.Unix(1, 0)))
		case int64:
			field.SetInt(1)
		default:
			field.SetString("x")
		}
		names := syncs.Changed(before, after)
		if len(names) == 0 && !slices.Contains([]string{"Workspace", "ID", "Version", "CreatedAt", "UpdatedAt", "ScheduledAt"}, kind.Field(i).Name) {
			t.Errorf("a change of %s is not named", kind.Field(i).Name)
		}
		got = append(got, names...)
	}
	want := []string{
		"source_id", "destination_id", "model_id", "configuration", "schedule_type", "sync_mode",
		"sync_interval", "sync_interval_unit", "cron_expression", "cursor_field", "stream_name", "status",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
