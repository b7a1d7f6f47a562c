package chatml

import "slices"

// TrimReply returns the generated ids before the first stop id, and whether
// there was one. Stop ids are that of [EndToken] and any other end of sequence
// the model's generation config names. A reply that is not finished was cut by
// a length limit: its text is a beginning, not an answer.
//
// The result shares memory with ids.
func TrimReply(ids []int32, stop ...int32) (reply []int32, finished bool) {
	for i, id := range ids {
		if slices.Contains(stop, id) {
			return ids[:i:i], true
		}
	}
	return ids, false
}
