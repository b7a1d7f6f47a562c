// Package wandb writes a training run as a Weights & Biases offline run, the
// directory that `wandb sync` uploads.
//
//	run, err := wandb.Create(wandb.Options{Dir: "models/impulse", Project: "impulse"})
//	err = run.Log(step, time.Now(), map[string]any{"train/loss": 0.5})
//	err = run.Close(0)
//
// The directory is wandb/offline-run-TIME-ID below Options.Dir. Its run-ID.wandb
// is a log of records in LevelDB's framing (blocks of 32 KiB, CRC-32 of IEEE),
// after a header of seven bytes; a record is a wandb_internal.Record protobuf.
// Media lie beside it, in files/. Sources: wandb/proto/wandb_internal.proto and
// the files that wandb 0.31 writes, which its own reader opens like these.
//
// Nothing here needs the Python package, an account or a network. Where the
// package is installed and an API key is configured, [StartSync] uploads a run
// while it is written.
package wandb
