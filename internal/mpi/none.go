//go:build !mpi || !cgo

package mpi

import (
	"context"
	"time"
)

// World is all processes that were started together.
type World struct{}

// Start refuses: see [ErrNotBuilt].
func Start(time.Duration) (*World, error) { return nil, ErrNotBuilt }

// Rank is that of this process, from 0.
func (*World) Rank() int { return 0 }

// Size is how many processes there are.
func (*World) Size() int { return 1 }

// Host is where a process runs.
func (*World) Host(int) string { return "" }

// Send sends a message to another process.
func (*World) Send(context.Context, int, []byte) error { return ErrNotBuilt }

// Receive receives the next message of another process.
func (*World) Receive(context.Context, int) ([]byte, error) { return nil, ErrNotBuilt }

// Close ends this process's part.
func (*World) Close(error) error { return nil }
