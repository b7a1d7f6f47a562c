// Package runlog keeps beside an adapter what people want to know of its
// training: metrics.jsonl and the same as TensorBoard events, answers of the
// adapter as it learns in samples.jsonl, and report.html, a page that opens
// anywhere.
//
//	log, err := runlog.Open(dir, "", runlog.Run{Title: dir, Status: trainer.Status})
//	err = trainer.Run(ctx, log.Hooks(ctx))
//	err = log.Close()
//
// A log belongs to a run that can be resumed: a checkpoint holds how far the log
// was ([Log.AddFiles]), and [Open] goes on from there. docs/metrics.md describes
// the files.
package runlog
