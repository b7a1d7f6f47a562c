// Package train fine-tunes LoRA adapters.
//
// A [Trainer] takes a model, the adapter's layers on it, and plans of batches;
// [Trainer.Run] goes through the plan and calls back after each optimiser step
// and evaluation. It does less work than a plain trainer and gets the same
// numbers: what all examples of a batch begin with is computed once, and only
// positions whose output is trained reach the vocabulary's head.
//
// Loss is the summed cross entropy over trained tokens, divided once per
// optimiser step by their number over all accumulated batches. Moments, loss
// and gradients are float32 whatever the model's dtype. The same data, seed
// and backend give the same bytes.
//
// LoRA dropout draws one mask for the shared prefix of a batch, where separate
// sequences would draw one each.
//
// With [Config].Replicas the batches of a step are dealt to several devices. Each
// computes what its batches begin with again; gradients are added in the order of
// the batches on the first device, so that where all devices are alike a run gives
// the same bytes on any number of them. [Config].Ranks does so with several
// processes.
//
// With a directory for [Checkpoints] a run that was killed goes on, by
// [Trainer.Resume], as if nothing had happened.
//
// XLA on a CPU keeps two to three times less memory if the process is started with
//
//	GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4194304:glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1
//
// and salamandra.Options.Compiled calls malloc_trim, as examples/impulse does.
//
// The package does not read data or print, and writes nothing but checkpoints;
// for the whole program see examples/impulse. Full fine-tuning is not its job.
package train
