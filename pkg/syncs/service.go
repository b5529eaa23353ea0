package syncs

import (
	"context"
	"fmt"
	"time"

	"syncplane/pkg/access"
)

// Store keeps syncs. Its promises are tests in package storetest, which runs
// over every engine.
type Store interface {
	// Create writes s if its workspace has no sync of that ID. It returns a
	// fault.Conflict, and changes nothing, if it has. When it returns nil, s
	// survives a crash.
	Create(ctx context.Context, s Sync) error

	// Read returns the sync that Create wrote, equal in every field, or a
	// fault.NotFound. It sees every write that returned before it began.
	Read(ctx context.Context, workspace, id string) (Sync, error)
}

// Service is what can be done with syncs, whoever asks and however: the HTTP
// face and every other entry call it.
type Service struct {
	Store Store
	Now   func() time.Time
	NewID func() (string, error) // returns a UUIDv7
}

// Create makes the sync that d describes in the workspace of who. The errors
// it returns are fault.Forbidden, fault.Invalid and those of Store.Create.
func (s *Service) Create(ctx context.Context, who access.Caller, d Draft) (Sync, error) {
	if err := access.Check(who, access.WriteSyncs); err != nil {
		return Sync{}, err
	}
	if err := d.Validate(); err != nil {
		return Sync{}, err
	}
	id, err := s.NewID()
	if err != nil {
		return Sync{}, fmt.Errorf("make an id: %w", err)
	}
	sync := d.sync(who.Workspace, id, s.Now())
	if err := s.Store.Create(ctx, sync); err != nil {
		return Sync{}, fmt.Errorf("create sync %s: %w", id, err)
	}
	return sync, nil
}
