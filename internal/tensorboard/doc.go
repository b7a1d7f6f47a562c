// Package tensorboard writes scalars into event files that TensorBoard reads.
//
//	w, err := tensorboard.NewWriter(file, time.Now())
//	err = w.Scalars(step, time.Now(), tensorboard.Scalar{Tag: "train/loss", Value: 0.5})
//
// An event file is a list of TFRecords, each the length of its data, the data,
// and a masked CRC-32C of each of the two; the data is an Event protobuf. Both
// are written by hand, since this is all of them that scalars need. Sources:
// tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto.
//
// # What this package is not for
//
// It writes no histograms, images, text or graphs, and makes no directories:
// TensorBoard takes each directory below its --logdir that has a file of events
// for a run, and a file for one of events if its name contains "tfevents"; see
// [FileName].
package tensorboard
