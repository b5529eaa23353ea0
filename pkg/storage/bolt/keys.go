package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
)

// Keys is an apikey.Store in a file of its own, which is opened for each call, so
// that keys can be managed while a server holds the file of the Store.
type Keys struct{ Path string }

var _ apikey.Store = Keys{}

var errNoKey error = fault.New(fault.NotFound, "not_found", "there is no key with this id")

func (ks Keys) file() sideFile { return sideFile{ks.Path, keyBucket, "the keys"} }

func (ks Keys) view(ctx context.Context, read func(b *bbolt.Bucket) error) error {
	if ctx.Err() != nil {
		return timeoutFault(ctx, "the key")
	}
	return ks.file().view(read)
}

func (ks Keys) update(ctx context.Context, write func(b *bbolt.Bucket) error) error {
	if ctx.Err() != nil {
		return timeoutFault(ctx, "the key")
	}
	return ks.file().update(write)
}

// keyBucket is the bucket of the keys, by ID.
const keyBucket = "keys"

// keyRow is a key as it is stored, in JSON.
type keyRow struct {
	Workspace string    `json:"workspace"`
	Name      string    `json:"name"`
	Scopes    []string  `json:"scopes"`
	Hash      []byte    `json:"hash"`
	LastFour  string    `json:"last_four"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	RevokedAt time.Time `json:"revoked_at"`
}

func (r keyRow) key(id string) apikey.Key {
	k := apikey.Key{
		ID: id, Workspace: r.Workspace, Name: r.Name, Scopes: r.Scopes, LastFour: r.LastFour,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
	}
	copy(k.Hash[:], r.Hash)
	return k
}

// CreateKey stores k. It returns a fault.Conflict if a key with its ID exists.
func (ks Keys) CreateKey(ctx context.Context, k apikey.Key) error {
	return ks.update(ctx, func(b *bbolt.Bucket) error {
		if b.Get([]byte(k.ID)) != nil {
			return fault.New(fault.Conflict, "already_exists", "a key with this id exists")
		}
		return putKey(b, k)
	})
}

func putKey(b *bbolt.Bucket, k apikey.Key) error {
	value, err := encode(keyRow{
		Workspace: k.Workspace, Name: k.Name, Scopes: k.Scopes, Hash: k.Hash[:], LastFour: k.LastFour,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt,
	})
	if err != nil {
		return err
	}
	return b.Put([]byte(k.ID), value)
}

func readKey(b *bbolt.Bucket, id string) (apikey.Key, error) {
	value := b.Get([]byte(id))
	if value == nil {
		return apikey.Key{}, errNoKey
	}
	return decodeKey(id, value)
}

func decodeKey(id string, value []byte) (apikey.Key, error) {
	var r keyRow
	if err := json.Unmarshal(value, &r); err != nil {
		return apikey.Key{}, fmt.Errorf("decode a key: %w", err)
	}
	return r.key(id), nil
}

// Key returns the key with an ID, or a fault.NotFound.
func (ks Keys) Key(ctx context.Context, id string) (k apikey.Key, err error) {
	err = ks.view(ctx, func(b *bbolt.Bucket) error {
		k, err = readKey(b, id)
		return err
	})
	return k, err
}

// Keys returns the keys of a workspace. It cannot tell of which one a key is that cannot
// be read.
func (ks Keys) Keys(ctx context.Context, workspace string) (keys []apikey.Key, err error) {
	var unreadable []error
	err = ks.view(ctx, func(b *bbolt.Bucket) error {
		return b.ForEach(func(id, value []byte) error {
			k, err := decodeKey(string(id), value)
			if err != nil {
				unreadable = append(unreadable, fmt.Errorf("the key %s: %w", id, err))
			} else if k.Workspace == workspace {
				keys = append(keys, k)
			}
			return nil
		})
	})
	return keys, errors.Join(append(unreadable, err)...)
}

// RevokeKey revokes a key of a workspace. It does nothing if the key was revoked
// before.
func (ks Keys) RevokeKey(ctx context.Context, workspace, id string, now time.Time) error {
	return ks.update(ctx, func(b *bbolt.Bucket) error {
		k, err := readKey(b, id)
		switch {
		case err != nil:
			return err
		case k.Workspace != workspace:
			return errNoKey
		case !k.RevokedAt.IsZero():
			return nil
		}
		k.RevokedAt = now.UTC().Truncate(time.Second)
		return putKey(b, k)
	})
}
