package train

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/impulse-salamandra/finetune/dataset"
)

// identity is what makes a run this run, by name: everything that changes a
// byte of its outcome.
func (t *Trainer) identity() map[string]string {
	all := map[string]string{}
	addFields(all, "", t.config)
	adapter := t.layers.Config
	adapter.BaseModelNameOrPath, adapter.Revision = "", "" // where the base lies, not what it is
	addFields(all, "", adapter)
	addFields(all, "", t.train.Options())
	if t.eval != nil && t.eval.Options() != t.train.Options() {
		addFields(all, "evaluation ", t.eval.Options())
	}
	all["adapter numbers"] = strconv.Itoa(t.layers.NumParameters())
	for name, plan := range map[string]*dataset.Plan{"training": t.train, "evaluation": t.eval} {
		if plan == nil {
			continue
		}
		all[name+" examples"] = strconv.Itoa(plan.Len())
		all[name+" data"] = plan.SHA256()
	}
	maps.Copy(all, t.config.Checkpoints.Identity)
	return all
}

// addFields adds the fields of a struct by their keys, each as JSON.
func addFields(all map[string]string, prefix string, options any) {
	text, err := json.Marshal(options)
	var fields map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		panic(err) // a struct of numbers and texts is an object
	}
	for name, value := range fields {
		all[prefix+name] = string(value)
	}
}

// differences lists what differs between two identities, by name.
func differences(was, is map[string]string) []Difference {
	names := maps.Clone(was)
	maps.Copy(names, is)
	var list []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was[name] != is[name] {
			list = append(list, Difference{name, was[name], is[name]})
		}
	}
	return list
}
