package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/impulse-salamandra/finetune/dataset"
)

// identity is what makes a run this run, by name: everything that changes a
// byte of its outcome.
func (t *Trainer) identity() map[string]string {
	all := map[string]string{}
	addFields(all, "train.", t.config)
	adapter := t.layers.Config
	adapter.BaseModelNameOrPath, adapter.Revision = "", "" // where the base lies, not what it is
	addFields(all, "lora.", adapter)
	all["adapter numbers"] = strconv.Itoa(t.layers.NumParameters())
	for name, plan := range map[string]*dataset.Plan{"training": t.train, "evaluation": t.eval} {
		if plan == nil {
			continue
		}
		addFields(all, name+" plan.", plan.Options())
		all[name+" examples"] = strconv.Itoa(plan.Len())
		all[name+" data"] = plan.SHA256()
	}
	maps.Copy(all, t.config.Checkpoints.Identity)
	return all
}

// addFields adds the fields of a struct, each as JSON.
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

// differences lists what differs between two identities, a line each.
func differences(was, is map[string]string) []string {
	names := maps.Clone(was)
	maps.Copy(names, is)
	value := func(of map[string]string, name string) string {
		if v, ok := of[name]; ok {
			return v
		}
		return "nothing"
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a, b := value(was, name), value(is, name); a != b {
			list = append(list, fmt.Sprintf("%s: %s then, %s now", name, a, b))
		}
	}
	return list
}
