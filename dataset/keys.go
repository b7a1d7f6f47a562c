package dataset

import (
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// Why a key cannot be passed over.
const (
	noTools     = "the chat template that is trained has no tools; write what the model is to say into the content, or leave the record out"
	noReasoning = "the chat template that is trained has no reasoning apart from the content; put it there, or take it out"
	noMedia     = "only text is trained"
	noChoice    = "that is preference data, which is not trained on; keep the answer to learn"
	noPart      = "that would be part of the conversation, and this format has no place for it; put it into a message, or take it out"
	noTemplate  = "prompts are made by the model's own chat template; take it out"
	noWeight    = "records are not weighted, want 1 or nothing; leave the record out, or give a message \"weight\": 0"
)

// variantKey is the key of [Record.VariantOf].
const variantKey = "variant_of"

// recordKeys are keys of records, as normalKey writes them, that would change
// what is trained.
var recordKeys = func() map[string]string {
	reasons := map[string]string{}
	for why, keys := range map[string]string{
		noTools:     "tools functions toolchoice functioncall toolcalls paralleltoolcalls availabletools toolschemas apis",
		noReasoning: "reasoning reasoningcontent thinking thought thoughts chainofthought cot rationale",
		noMedia:     "image images imageurl video videos audio audios files attachments",
		noChoice:    "chosen rejected ktotag label preference prefers",
		noPart: "system systemprompt systemmessage systeminstruction developer preamble history context contexts document documents passage passages knowledge " +
			"background persona suffix prefix prefill responseformat " +
			"messages conversations conversation dialog dialogue turns chat contents " +
			"prompt instruction instructions question query input inputs user completion output outputs response answer answers targets target assistant",
		noTemplate: "chattemplate chattemplatekwargs enablethinking addgenerationprompt bostoken eostoken",
		noWeight:   "weight train training trainable loss mask lossmask lossweight sampleweight",
	} {
		for _, key := range strings.Fields(keys) {
			reasons[key] = why
		}
	}
	return reasons
}()

// harmlessKeys are keys of messages, as normalKey writes them, that say nothing
// of the conversation. Others are refused: a message is what is trained.
var harmlessKeys = strings.Fields(`id ids uuid messageid msgid parentid parent turn turnid turnindex index idx position order
	timestamp time date datetime created createdat createtime updatedat lang language locale model modelname source origin author username
	meta metadata extra note notes comment comments tag tags topic emotion sentiment intent category quality score scores rating ratings
	tokens tokencount numtokens length endturn finishreason status annotations logprobs`)

// changesRecord says why a key of a record that no format reads cannot be passed
// over, "" if it can.
func changesRecord(key string, v *strictjson.Value) string {
	key = normalKey(key)
	why := recordKeys[key]
	switch {
	case why == noWeight && (v.Text == "0" || v.Text == "false"), key == "label" && v.Kind == strictjson.Boolean:
		return why
	case empty(v), why == noWeight && (v.Text == "1" || v.Text == "1.0" || v.Text == "true"):
		return ""
	case key == "label", (key == "train" || key == "training") && v.Kind == strictjson.String:
		return "" // a name
	case why == "" && isConversation(v):
		return noPart
	}
	return why
}

// changesMessage says why a key of a message cannot be passed over, "" if it can.
func changesMessage(key string, v *strictjson.Value) string {
	normal := normalKey(key)
	switch why := recordKeys[normal]; {
	case empty(v), slices.Contains(harmlessKeys, normal):
		return ""
	case normal == "toolcallid", why == noTools:
		return noTools
	case why == noReasoning, why == noMedia:
		return why
	case normal == "name":
		return "the chat template that is trained has no names of speakers; put it into the content, or take it out"
	case normal == "prefix", normal == "prefill", normal == "continuefinalmessage":
		return "answers are trained whole, not continued; take it out"
	}
	return "unknown key of a message, which has role, content and weight; take it out if it says nothing of the conversation"
}

// empty reports whether a value says nothing.
func empty(v *strictjson.Value) bool {
	switch v.Kind {
	case strictjson.Null:
		return true
	case strictjson.String:
		return strings.TrimSpace(v.Text) == ""
	case strictjson.Boolean:
		return v.Text == "false"
	}
	return (v.Kind == strictjson.Array || v.Kind == strictjson.Object) && len(v.Items)+len(v.Members) == 0
}

// isConversation reports whether a value is a list of messages.
func isConversation(v *strictjson.Value) bool {
	return len(v.Items) > 0 && (v.Items[0].Get("role") != nil && v.Items[0].Get("content") != nil || v.Items[0].Get("from") != nil && v.Items[0].Get("value") != nil)
}

// normalKey is a key in lower case without what joins its words, so that
// tool_calls, toolCalls and "Tool calls" are one.
func normalKey(key string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(strings.ToLower(key))
}
