package serve

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestTextsForPeople: what a model says of itself is its contract's, unless the
// options of the server say otherwise, field by field.
func TestTextsForPeople(t *testing.T) {
	m := newFakeModel(1)
	m.contract.Title, m.contract.Description, m.contract.Examples = "Parcels", "Where a parcel is.", []string{"Where is parcel 7?"}
	for _, row := range []struct {
		name string
		set  people
		want people
	}{
		{"the contract's", people{}, people{"Parcels", "Where a parcel is.", []string{"Where is parcel 7?"}}},
		{"a title", people{Title: "Post"}, people{"Post", "Where a parcel is.", []string{"Where is parcel 7?"}}},
		{"all", people{"Post", "Letters.", []string{"a", "b"}}, people{"Post", "Letters.", []string{"a", "b"}}},
	} {
		o := testOptions()
		o.Title, o.Description, o.Examples = row.set.Title, row.set.Description, row.set.Examples
		s := newTestServer(t, m, o)
		var got modelDetail
		if err := json.Unmarshal(do(s, "GET", "/v1/models/impulse", "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Title != row.want.Title || got.Description != row.want.Description || !slices.Equal(got.Examples, row.want.Examples) {
			t.Errorf("%s: got %+v, want %+v", row.name, got.people, row.want)
		}
	}
}
