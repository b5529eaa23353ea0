package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/backoff"
	"syncplane/pkg/client"
	"syncplane/pkg/syncs"
)

// The bounds of loops that end early unless other writers never stop. Our own choices.
const (
	maxConflicts   = 20  // of one sync with other writers
	maxConditional = 5   // of them, after which a change no longer requires the version that was read
	maxGenerations = 200 // how often a name can be deleted and created again in a day
)

// conflictPause is the time until another attempt after a conflict. Our own choice.
const conflictPause = 100 * time.Millisecond

// Applier makes syncs those of a file.
type Applier struct {
	Client *client.ClientWithResponses
	Out    io.Writer // what is done, for people
	DryRun bool      // only print it
	Prune  bool      // delete the syncs with a name that the file does not have

	report Report
}

// Report counts what was done, or would be in a dry run, and the syncs that failed.
type Report struct{ Created, Changed, Deleted, Unchanged, Failed int }

// String returns the counts as a line.
func (r Report) String() string {
	text := fmt.Sprintf("%d created, %d changed, %d deleted, %d unchanged", r.Created, r.Changed, r.Deleted, r.Unchanged)
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Failed)
	}
	return text
}

// Apply makes the syncs of the workspace those of want. A sync that is refused does not
// stop the others; the error names each. The Report is zero if nothing was compared.
// Every step can be repeated: an Apply after one that ended at any point, or one at the
// same time, leads to the same syncs.
func (a *Applier) Apply(ctx context.Context, want []Sync) (Report, error) {
	a.report = Report{}
	named, err := a.list(ctx)
	if err != nil {
		return a.report, err
	}
	var errs []error
	created := map[string]client.SyncID{}
	for i := range want {
		s := &want[i]
		err := a.applyTo(ctx, s, named[s.Name], created)
		if err != nil {
			errs = append(errs, fmt.Errorf("sync %q: %w", s.Name, err))
			a.report.Failed++
		}
		if isFatal(err) {
			return a.report, errors.Join(errs...)
		}
	}
	if err := a.settle(ctx, want, created); err != nil {
		errs = append(errs, err)
	}
	if a.Prune {
		errs = append(errs, a.prune(ctx, want, named))
	}
	return a.report, errors.Join(errs...)
}

// isFatal reports whether the requests for other syncs will fail too.
func isFatal(err error) bool {
	if err == nil {
		return false
	}
	failure, ok := errors.AsType[*remote.Error](err)
	if !ok {
		_, refused := errors.AsType[*refusal](err)
		return !refused
	}
	return failure.Status == http.StatusUnauthorized || failure.Status == http.StatusForbidden || failure.Status >= http.StatusInternalServerError
}

// refusal is a reason of this program to leave a sync as it is.
type refusal struct{ reason string }

// Error returns the reason.
func (r *refusal) Error() string { return r.reason }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// list returns the syncs of the workspace that have a name, by name, oldest first.
func (a *Applier) list(ctx context.Context) (map[string][]current, error) {
	named := map[string][]current{}
	for page, err := range remote.Pages(ctx, a.Client, nil) {
		if err != nil {
			return nil, err
		}
		for _, s := range page.JSON200.Data {
			c, err := currentOf(s, "")
			if err != nil {
				return nil, err
			}
			if c.name != "" {
				named[c.name] = append(named[c.name], c)
			}
		}
	}
	for _, all := range named {
		slices.SortFunc(all, func(x, y current) int { return strings.Compare(x.id.String(), y.id.String()) })
	}
	return named, nil
}

// read returns a sync; found is false if it does not exist.
func (a *Applier) read(ctx context.Context, id client.SyncID) (c current, found bool, err error) {
	response, err := a.Client.ReadSyncWithResponse(ctx, id, nil)
	if err := remote.Check(response, err); err != nil {
		if remote.StatusOf(err) == http.StatusNotFound {
			return current{}, false, nil
		}
		return current{}, false, err
	}
	c, err = currentOf(*response.JSON200, response.HTTPResponse.Header.Get("ETag"))
	return c, err == nil, err
}

// progress holds what was printed about a sync, and the number of earlier attempts.
type progress struct {
	create, change bool
	attempts       int
}

// applyTo creates s or changes the sync with its name. It adds a sync that it created
// to created.
func (a *Applier) applyTo(ctx context.Context, s *Sync, named []current, created map[string]client.SyncID) error {
	if len(named) > 1 {
		return refuse("there are %d syncs with this name, %s; delete all but one, or change %s in their configurations", len(named), idsOf(named), NameMember)
	}
	var old *current
	if len(named) == 1 {
		old = &named[0]
	}
	var printed progress
	for printed.attempts = range maxConflicts {
		if printed.attempts > 1 {
			if err := backoff.Sleep(ctx, conflictPause); err != nil {
				return err
			}
		}
		if old == nil {
			if !printed.create {
				printed.create = true
				a.printCreate(s)
			}
			if a.DryRun {
				a.report.Created++
				return nil
			}
			made, isNew, err := a.create(ctx, s)
			if err != nil {
				return err
			}
			if isNew {
				switch err := a.setEnabled(ctx, s, &made); {
				case isOvertaken(err): // another writer deleted it
					continue
				case err != nil:
					return err
				}
				a.report.Created++
				created[s.Name] = made.id
				return nil
			}
			old = &made
			continue
		}
		again, err := a.change(ctx, s, old, &printed)
		if err != nil || !again {
			return err
		}
		fresh, found, err := a.read(ctx, old.id)
		if err != nil {
			return err
		}
		if old = nil; found && fresh.name == s.Name {
			old = &fresh
		}
	}
	return refuse("another writer changes it all the time")
}

// change changes old to s. again is true if old is to be read, and the change tried
// again.
func (a *Applier) change(ctx context.Context, s *Sync, old *current, printed *progress) (again bool, err error) {
	all, fields := differences(&old.draft, &s.Draft)
	pauses := s.Enabled != nil && *s.Enabled == old.paused
	if len(fields) == 0 && !pauses {
		if printed.change {
			a.report.Changed++ // by the attempts so far
		} else {
			a.report.Unchanged++
		}
		return false, nil
	}
	if slices.Contains(fields, "cursor_field") {
		return false, refuse("cursor_field cannot be changed once the sync exists; give the sync another name, or delete %s first", old.id)
	}
	if !a.DryRun && old.etag == "" {
		return true, nil
	}
	if !printed.change {
		printed.change = true
		a.printChange(s, old, all, pauses)
	}
	if a.DryRun {
		a.report.Changed++
		return false, nil
	}
	if len(fields) > 0 {
		params := client.ChangeSyncParams{IfMatch: &old.etag}
		if printed.attempts > maxConditional {
			params.IfMatch = nil
		}
		response, err := a.Client.ChangeSyncWithBodyWithResponse(ctx, old.id, &params, "application/json", bytes.NewReader(patch(&s.Draft, fields)))
		if err := remote.Check(response, err); err != nil {
			return isOvertaken(err), errUnless(isOvertaken(err), err)
		}
	}
	if err := a.setEnabled(ctx, s, old); err != nil {
		return isOvertaken(err), errUnless(isOvertaken(err), err)
	}
	a.report.Changed++
	return false, nil
}

// isOvertaken reports whether another writer changed or deleted the sync first.
func isOvertaken(err error) bool {
	status := remote.StatusOf(err)
	return status == http.StatusPreconditionFailed || status == http.StatusNotFound || status == http.StatusConflict
}

func errUnless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

// setEnabled pauses or resumes a sync whose state differs from that in the file.
func (a *Applier) setEnabled(ctx context.Context, s *Sync, old *current) error {
	if s.Enabled == nil || *s.Enabled != old.paused {
		return nil
	}
	response, err := a.Client.EnableSyncWithResponse(ctx, old.id, nil, client.Enable{Enable: *s.Enabled})
	return remote.Check(response, err)
}

// create creates s. If another writer created a sync with this name, it returns that,
// and isNew is false.
//
// The idempotency key follows from the name, so of concurrent creates with one name one
// succeeds, and a create whose response was lost is not repeated. A key stays in use
// for a day after its sync was deleted; then the next generation of the key counts.
func (a *Applier) create(ctx context.Context, s *Sync) (c current, isNew bool, err error) {
	for generation := 0; generation < maxGenerations; {
		key := keyOf(s.Name, generation)
		response, err := a.Client.CreateSyncWithBodyWithResponse(ctx, &client.CreateSyncParams{IdempotencyKey: &key}, "application/json", bytes.NewReader(s.body))
		switch err := remote.Check(response, err); {
		case remote.Has(err, client.APIErrorCodeIdempotencyKeyReused):
			// For a sync with this name and other content, which may be deleted.
			named, err := a.list(ctx)
			if err != nil {
				return current{}, false, err
			}
			if found := named[s.Name]; len(found) > 0 {
				return found[0], false, nil
			}
			generation++
		case remote.StatusOf(err) == http.StatusConflict: // the key is in use by a concurrent request
			if err := backoff.Sleep(ctx, conflictPause); err != nil {
				return current{}, false, err
			}
		case err != nil:
			return current{}, false, err
		case response.HTTPResponse.Header.Get("Idempotent-Replayed") == "":
			c, err := currentOf(*response.JSON200, "")
			return c, true, err
		default:
			c, found, err := a.read(ctx, response.JSON200.ID)
			if err != nil || found && c.name == s.Name {
				return c, false, err
			}
			generation++ // it is deleted or has another name now
		}
	}
	return current{}, false, refuse("it was deleted and created again too often within a day")
}

// keyOf returns the idempotency key of the creates of a name. Keys are separate for
// each workspace.
func keyOf(name string, generation int) string {
	return fmt.Sprintf("syncplane-apply-%x-%d", sha256.Sum256([]byte(name)), generation)
}

// settle removes a sync that this Apply created if an older one with the same name
// exists. That happens only if an idempotency key expired between the creates of two
// concurrent Applies. Each of them removes its own, and the oldest stays.
func (a *Applier) settle(ctx context.Context, want []Sync, created map[string]client.SyncID) error {
	if len(created) == 0 {
		return nil
	}
	named, err := a.list(ctx)
	if err != nil {
		return err
	}
	for i := range want {
		s := &want[i]
		id, ok := created[s.Name]
		all := named[s.Name]
		if !ok || len(all) < 2 || all[0].id == id {
			continue
		}
		mine, found, err := a.read(ctx, id)
		if err != nil || !found || mine.name != s.Name {
			return err
		}
		if err := a.delete(ctx, &mine); err != nil {
			return fmt.Errorf("sync %q: delete a second one: %w", s.Name, err)
		}
		a.report.Created--
		if err := a.applyTo(ctx, s, all[:1], created); err != nil {
			return fmt.Errorf("sync %q: %w", s.Name, err)
		}
	}
	return nil
}

// prune deletes the syncs with a name that is not in want.
func (a *Applier) prune(ctx context.Context, want []Sync, named map[string][]current) error {
	kept := map[string]bool{}
	for _, s := range want {
		kept[s.Name] = true
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if kept[name] {
			continue
		}
		for i := range named[name] {
			c := &named[name][i]
			fmt.Fprintf(a.Out, "- delete %s (%s)\n", remote.Printable(name), c.id)
			if !a.DryRun {
				if err := a.deleteNamed(ctx, name, c.id); err != nil {
					errs = append(errs, fmt.Errorf("sync %q: delete %s: %w", name, c.id, err))
					a.report.Failed++
					continue
				}
			}
			a.report.Deleted++
		}
	}
	return errors.Join(errs...)
}

// deleteNamed deletes a sync unless it has another name by now.
func (a *Applier) deleteNamed(ctx context.Context, name string, id client.SyncID) error {
	for range maxConflicts {
		c, found, err := a.read(ctx, id)
		if err != nil || !found || c.name != name {
			return err
		}
		if err := a.delete(ctx, &c); !isOvertaken(err) {
			return err
		}
	}
	return refuse("another writer changes it all the time")
}

// delete deletes the version of a sync that was read.
func (a *Applier) delete(ctx context.Context, c *current) error {
	response, err := a.Client.DeleteSyncWithResponse(ctx, c.id, &client.DeleteSyncParams{IfMatch: &c.etag})
	return remote.Check(response, err)
}

func idsOf(all []current) string {
	var ids []string
	for _, c := range all {
		ids = append(ids, c.id.String())
	}
	return strings.Join(ids, ", ")
}

func (a *Applier) printCreate(s *Sync) {
	fmt.Fprintf(a.Out, "+ create %s\n", remote.Printable(s.Name))
	all, _ := differences(&syncs.Draft{}, &s.Draft)
	for _, d := range all {
		fmt.Fprintf(a.Out, "    %s\n", d)
	}
	if s.Enabled != nil && !*s.Enabled {
		fmt.Fprintln(a.Out, "    enabled: false")
	}
}

func (a *Applier) printChange(s *Sync, old *current, all []difference, pauses bool) {
	fmt.Fprintf(a.Out, "~ change %s (%s)\n", remote.Printable(s.Name), old.id)
	for _, d := range all {
		fmt.Fprintf(a.Out, "    %s\n", d)
	}
	if pauses {
		fmt.Fprintf(a.Out, "    enabled: %t → %t\n", !old.paused, *s.Enabled)
	}
}
