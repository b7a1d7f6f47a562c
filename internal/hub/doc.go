// Package hub finds model directories and fetches them: a directory given as it
// is, or a model of the Hugging Face hub in the local cache that its tools keep.
//
// [Resolve] never goes to the network. [Download] does, and fills the same cache
// in the layout of the Python tools, so that a model fetched by one is found by
// the other:
//
//	models--OWNER--NAME/refs/main               the commit that main stood at
//	models--OWNER--NAME/snapshots/COMMIT/FILE   relative links to blobs
//	models--OWNER--NAME/blobs/HASH              contents
//	models--OWNER--NAME/blobs/HASH.incomplete   contents so far, resumed later
//	.locks/models--OWNER--NAME/HASH.lock        held by the process that fetches
//
// A program that wants either writes
//
//	opts := hub.Options{Revision: revision}
//	dir, err := hub.Resolve(name, opts)
//	if errors.Is(err, hub.ErrNotFound) {
//		dir, err = hub.Download(ctx, name, opts)
//	}
//
// # What a download promises
//
// A file has its final name only if its size and its hash are those that the
// hub's list gives, and a reference such as refs/main is written only after all
// files are there. Cut connections, 429 and 5xx are tried again with growing
// pauses; a Retry-After is honoured up to five minutes.
//
// The token goes to the endpoint's own origin, over https or to this machine,
// and not after a redirect away from it.
//
// # Environment
//
// The variables are those of the Python tools: HF_HUB_CACHE, HF_HOME and
// XDG_CACHE_HOME for the place of the cache; HF_ENDPOINT; HF_TOKEN, else the
// file HF_TOKEN_PATH or token below HF_HOME; HF_HUB_OFFLINE and
// TRANSFORMERS_OFFLINE.
//
// # What this package is not for
//
// It fetches the files from which a model is loaded and no others: no data
// sets, no weights in pickles, no uploads. It does not log in; hf auth login
// stores a token that is found here.
package hub
