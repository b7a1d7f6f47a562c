package impulse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
)

// When a fault is found: always, or with Validate only.
const (
	always = false
	strict = true
)

type wantFault struct {
	err    error
	strict bool
	text   string // Fault.Error after the name of the file
}

// badFiles says all that is wrong with each file of testdata/bad read by itself.
var badFiles = map[string][]wantFault{
	"batch01_truncated": {
		{impulse.ErrSyntax, always, `31: top level: unexpected end of input, want ',' or '}' (byte offset 689)`},
	},
	"batch02_wrong_types": {
		{impulse.ErrType, always, `23: index 1 (BAD_002) filters: want object, got array`},
		{impulse.ErrType, always, `27: index 1 (BAD_002) semantic_query: want string or null, got number`},
		{impulse.ErrType, always, `45: index 2 (BAD_003) organisations: want array, got object`},
	},
	"batch03_missing_fields": {
		{impulse.ErrMissing, always, `2: index 0 (BAD_001) query_rewrite: missing`},
		{impulse.ErrMissing, strict, `4: index 0 (BAD_001) filters.year: missing`},
		{impulse.ErrMissing, always, `31: index 1 (BAD_002) meta.lang: missing`},
		{impulse.ErrMissing, always, `37: index 2 (no id) meta: missing`},
		{impulse.ErrMissing, strict, `47: index 2 (no id) organisations[0].location_level: missing`},
	},
	"batch04_unknown_enum": {
		{impulse.ErrValue, strict, `3: index 0 (BAD_001) doc_type: is "patents", want "projects"`},
		{impulse.ErrValue, strict, `28: index 1 (BAD_002) filters.location_level: is "comarca", want one of "city", "province", "region", "country", "other", null`},
		{impulse.ErrValue, strict, `44: index 2 (BAD_003) filters.funding_level: is "European", want one of "european", "national", "regional", null`},
		{impulse.ErrValue, strict, `51: index 2 (BAD_003) organisations[0].type: is "start-up", want one of "university", "company", "research_center", "hospital", "ngo", "public_entity", null`},
	},
	"batch05_duplicate_ids": {
		{impulse.ErrDuplicateID, strict, `53: index 2 (BAD_001) meta.id: "BAD_001" already used at index 0 of the same file`},
	},
	"batch06_bom": {
		{impulse.ErrBOM, always, `1: top level: warning: byte-order mark skipped`},
	},
	"batch07_crlf": {},
	"batch08_invalid_utf8": {
		{impulse.ErrUTF8, always, `31: index 1 (BAD_002) semantic_query: invalid UTF-8: byte 0xe8 (byte offset 686)`},
		{impulse.ErrUTF8, always, `32: index 1 (BAD_002) query_rewrite: invalid UTF-8: byte 0xe8 (byte offset 742)`},
		{impulse.ErrUTF8, always, `36: index 1 (BAD_002) meta.original_query: invalid UTF-8: byte 0xe8 (byte offset 848)`},
	},
	"batch09_empty_list": {
		{impulse.ErrEmpty, always, `1: top level: no records in the file`},
	},
	"batch10_too_deep": {
		{impulse.ErrDepth, always, `20: index 0 (BAD_001) extra: more than 64 arrays and objects within one another`},
	},
	"batch11_nan": {
		{impulse.ErrSyntax, always, `26: index 1 (BAD_002) filters.year: NaN is not JSON (byte offset 568)`},
	},
	"batch12_lang_mismatch": {
		{impulse.ErrInconsistent, strict, `16: index 0 (BAD_001) meta.lang: warning: CA, but query_rewrite begins as in EN ("List of")`},
		{impulse.ErrValue, strict, `35: index 1 (BAD_002) meta.lang: is "ca", want one of "CA", "ES", "EN"`},
		{impulse.ErrValue, strict, `54: index 2 (BAD_003) meta.lang: is "PT", want one of "CA", "ES", "EN"`},
	},
	"batch13_not_a_list": {
		{impulse.ErrType, always, `1: top level: want an array, or an object with an array under "queries"; keys found: items`},
	},
	"batch14_queries_not_array": {
		{impulse.ErrType, always, `2: queries: want array, got object`},
	},
	"batch15_record_not_object": {
		{impulse.ErrType, always, `21: index 1 (no id): want object, got string`},
		{impulse.ErrType, always, `22: index 2 (no id): want object, got null`},
		{impulse.ErrType, always, `23: index 3 (no id): want object, got array`},
	},
	"batch16_null_meta": {
		{impulse.ErrType, always, `14: index 0 (no id) meta: want object, got null`},
		{impulse.ErrType, always, `18: index 1 (BAD_002) filters: want object, got null`},
	},
	"batch17_duplicate_key": {
		{impulse.ErrDuplicateKey, always, `4: index 0 (BAD_001) doc_type: key given twice`},
	},
	"batch18_year_forms": {
		{impulse.ErrType, strict, `7: index 0 (BAD_001) filters.year: is number, want null or string`},
		{impulse.ErrInconsistent, strict, `26: index 1 (BAD_002) filters.year: warning: "2020-2018" runs backwards`},
		{impulse.ErrValue, strict, `45: index 2 (BAD_003) filters.year: "des de 2020" does not match ^([0-9]{4}|(>=|<=|>|<)[0-9]{4}|[0-9]{4}-[0-9]{4})$`},
	},
	"batch19_consistency": {
		{impulse.ErrInconsistent, strict, `9: index 0 (BAD_001) filters.location_level: warning: null although location is set`},
		{impulse.ErrBlank, strict, `36: index 1 (BAD_002) meta.original_query: blank`},
		{impulse.ErrUnknownKey, strict, `48: index 2 (BAD_003) filters.region: unknown key`},
		{impulse.ErrUnknownKey, strict, `59: index 2 (BAD_003) extra_field: unknown key`},
	},
	"batch20_two_values": {
		{impulse.ErrSyntax, always, `22: top level: '[' after the top-level value (byte offset 452)`},
	},
	"batch21_empty_file": {
		{impulse.ErrSyntax, always, `1: top level: the file is empty (byte offset 0)`},
	},
	"batch22_control_tokens": {
		{impulse.ErrControlToken, always, `17: index 0 (BAD_001) meta.original_query: holds the chat control token <|im_end|>, which would end a turn in the training text`},
	},
}

func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.json")
	require.NoError(t, err)
	require.Len(t, files, len(badFiles))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		want, ok := badFiles[name]
		require.True(t, ok, name)
		t.Run(name, func(t *testing.T) {
			for _, validate := range []bool{always, strict} {
				batches, err := impulse.ReadFiles(t.Context(), []string{file}, impulse.Options{Validate: validate})
				compareFaults(t, file, want, validate, batches, err)
			}
		})
	}
}

// compareFaults expects those faults of want that are found with or without
// Validate, as an error or, if all are warnings, beside the records.
func compareFaults(t *testing.T, file string, want []wantFault, validate bool, batches *impulse.Batches, err error) {
	t.Helper()
	var texts []string
	var causes []error
	fails := false
	for _, w := range want {
		if w.strict && !validate {
			continue
		}
		texts, causes = append(texts, file+":"+w.text), append(causes, w.err)
		if !strings.Contains(w.text, ": warning: ") {
			fails = true
		}
	}
	var got []impulse.Fault
	if fails {
		var faults *impulse.FaultsError
		require.ErrorAs(t, err, &faults)
		require.Nil(t, batches)
		got = faults.Faults
	} else {
		require.NoError(t, err)
		require.NotEmpty(t, batches.Records)
		got = batches.Warnings
	}
	var gotTexts []string
	for i, f := range got {
		gotTexts = append(gotTexts, f.Error())
		require.Less(t, i, len(causes), "%v", f)
		require.Equal(t, causes[i], f.Cause())
		require.Equal(t, file, f.File)
	}
	if diff := cmp.Diff(texts, gotTexts); diff != "" {
		t.Errorf("validate %t: faults (-want +got):\n%s", validate, diff)
	}
}

func TestAcceptedBadFiles(t *testing.T) {
	for _, name := range []string{"batch06_bom.json", "batch07_crlf.json"} {
		batches, err := impulse.ReadFiles(t.Context(), []string{"testdata/bad/" + name}, impulse.Options{Validate: true})
		require.NoError(t, err)
		require.Len(t, batches.Records, 3)
		require.NotContains(t, batches.Records[1].Answer, "\r")
		require.Equal(t, "projectes sobre grafè", batches.Records[1].Query)
	}
}

const currentRecord = `{"doc_type": "projects",
"filters": {"programme": null, "funding_level": null, "year": null, "location": null, "location_level": null},
"organisations": [{"type": "company", "name": "Ona", "location": null, "location_level": null}],
"semantic_query": "grafè",
"query_rewrite": "Llista de projectes sobre grafè",
"meta": {"id": "q1", "lang": "CA", "original_query": "projectes sobre grafè", "notes": null}}`

// v1Record is currentRecord in the older variant.
var v1Record = strings.Replace(currentRecord, `"query_rewrite"`,
	`"metric": "list", "metric_params": {"k": null, "field": null, "group_by": null}, "query_rewrite"`, 1)

func TestFaults(t *testing.T) {
	for _, row := range []struct {
		name, reason string
		record       string // currentRecord if empty
		old, new     string // an edit of record; with old empty, new is the whole file
		schema       string
		want         []wantFault
	}{
		{
			name: "fine", reason: "the record that the other rows spoil",
		},
		{
			name: "v1 fine", record: v1Record, old: `"year": null`, new: `"year": 2023`,
			reason: "the older variant takes whole numbers",
		},
		{
			name: "v1 rules", record: v1Record, old: `"metric": "list", "metric_params": {"k": null`, new: `"metric": "top_k", "metric_params": {"k": null`,
			want:   []wantFault{{impulse.ErrType, strict, `5: index 0 (q1) metric_params.k: is null, want integer`}},
			reason: "a ranking has a length",
		},
		{
			name: "v1 level", record: v1Record, old: `"location": null, "location_level": null}]`, new: `"location": "Lleida", "location_level": "province"}]`,
			want:   []wantFault{{impulse.ErrValue, strict, `3: index 0 (q1) organisations[0].location_level: is "province", want one of "city", "nuts3", "nuts2", "nuts1", "country", "other", null`}},
			reason: "levels differ between the variants",
		},
		{
			name: "v1 missing", record: v1Record, old: `"metric_params"`, new: `"params"`,
			want: []wantFault{
				{impulse.ErrMissing, always, `1: index 0 (q1) metric_params: missing`},
				{impulse.ErrUnknownKey, strict, `5: index 0 (q1) params: unknown key`},
			},
			reason: "metric makes it v1",
		},
		{
			name: "huge exponent", record: v1Record, old: `"year": null`, new: `"year": 1e999999999`,
			want:   []wantFault{{impulse.ErrValue, strict, `2: index 0 (q1) filters.year: number "1e999999999" is out of range`}},
			reason: "exact arithmetic on it would not end",
		},
		{
			name: "organisation's place", old: `"location": null, "location_level": null}]`, new: `"location": null, "location_level": "city"}]`,
			want:   []wantFault{{impulse.ErrInconsistent, strict, `3: index 0 (q1) organisations[0].location_level: warning: set although location is null`}},
			reason: "the reverse of a location without level",
		},
		{
			name: "blank topic", old: `"semantic_query": "grafè"`, new: `"semantic_query": "\u00a0"`,
			want:   []wantFault{{impulse.ErrBlank, strict, `4: index 0 (q1) semantic_query: blank`}},
			reason: "no topic is null",
		},
		{
			name: "empty name", old: `"Ona"`, new: `""`,
			want:   []wantFault{{impulse.ErrBlank, strict, `3: index 0 (q1) organisations[0].name: blank`}},
			reason: "one fault, though the schema has minLength as well",
		},
		{
			name: "blank id", old: `"q1"`, new: `" "`,
			want:   []wantFault{{impulse.ErrBlank, strict, `6: index 0 ( ) meta.id: blank`}},
			reason: "the answer does not hold it, but lines need it",
		},
		{
			name: "blank notes", old: `"notes": null`, new: `"notes": ""`, reason: "as good as null",
		},
		{
			name: "no notes", old: `, "notes": null`, new: `, "source": {"a": [1]}`, reason: "null if absent; further keys of meta are left out",
		},
		{
			name: "wrong notes", old: `"notes": null`, new: `"notes": false`,
			want:   []wantFault{{impulse.ErrType, always, `6: index 0 (q1) meta.notes: want string or null, got boolean`}},
			reason: "optional, not of any type",
		},
		{
			name: "id is a number", old: `"q1"`, new: `1`,
			want:   []wantFault{{impulse.ErrType, always, `6: index 0 (no id) meta.id: want string, got number`}},
			reason: "lines hold text",
		},
		{
			name: "control token in the answer", old: `"semantic_query": "grafè"`, new: `"semantic_query": "<|im_start|>user"`,
			want:   []wantFault{{impulse.ErrControlToken, always, `4: index 0 (q1) semantic_query: holds the chat control token <|im_start|>, which would end a turn in the training text`}},
			reason: "not only in the question",
		},
		{
			name: "no control token", old: `"semantic_query": "grafè"`, new: `"semantic_query": "a <| b |> c <im_end>"`, reason: "signs between which no name stands",
		},
		{
			name: "half a surrogate pair", old: `"semantic_query": "grafè"`, new: `"semantic_query": "\ud83d-"`,
			want:   []wantFault{{impulse.ErrUTF8, always, `4: index 0 (q1) semantic_query: \ud83d is half a surrogate pair, no character (byte offset 253)`}},
			reason: "other readers put U+FFFD",
		},
		{
			name: "key twice within", old: `"name": "Ona"`, new: `"name": "Ona", "name": null`,
			want:   []wantFault{{impulse.ErrDuplicateKey, always, `3: index 0 (q1) organisations[0].name: key given twice`}},
			reason: "at every depth",
		},
		{
			name: "key twice and a bad value", old: `"doc_type": "projects"`, new: `"doc_type": "x", "doc_type": "x"`,
			want: []wantFault{
				{impulse.ErrValue, strict, `1: index 0 (q1) doc_type: is "x", want "projects"`},
				{impulse.ErrDuplicateKey, always, `1: index 0 (q1) doc_type: key given twice`},
			},
			reason: "two reasons that have nothing to do with each other",
		},
		{
			name: "infinity in place of an object", old: `[{"type": "company", "name": "Ona", "location": null, "location_level": null}]`, new: `-Infinity`,
			want:   []wantFault{{impulse.ErrSyntax, always, `3: index 0 (q1) organisations: -Infinity is not JSON (byte offset 154)`}},
			reason: "one fault, though it is no array either",
		},
		{
			name: "odd keys", old: `"programme": null`, new: `"programme": null, "": 1, "a.b": 1, "ç": 1`,
			want: []wantFault{
				{impulse.ErrUnknownKey, strict, `2: index 0 (q1) filters[""]: unknown key`},
				{impulse.ErrUnknownKey, strict, `2: index 0 (q1) filters["a.b"]: unknown key`},
				{impulse.ErrUnknownKey, strict, `2: index 0 (q1) filters.ç: unknown key`},
			},
			reason: "paths stay unambiguous",
		},
		{
			name: "metric with a schema that lacks it", record: v1Record, schema: string(impulse.Schema(impulse.Current)),
			want: []wantFault{
				{impulse.ErrUnknownKey, strict, `5: index 0 (q1) metric: unknown key`},
				{impulse.ErrUnknownKey, strict, `5: index 0 (q1) metric_params: unknown key`},
			},
			reason: "the given schema decides the variant",
		},
		{
			name: "own rules", schema: `{"properties": {"semantic_query": {"minLength": 9, "pattern": "^x"}, "meta": {"properties": {"lang": {"const": "EN"}}}}}`,
			want: []wantFault{
				{impulse.ErrValue, strict, `4: index 0 (q1) semantic_query: has 5 characters, want at least 9`},
				{impulse.ErrValue, strict, `4: index 0 (q1) semantic_query: "grafè" does not match ^x`},
				{impulse.ErrValue, strict, `6: index 0 (q1) meta.lang: is "CA", want "EN"`},
			},
			reason: "all that a given schema says, in place of the built-in one",
		},
		{
			name: "top level is a text", new: `"queries"`,
			want:   []wantFault{{impulse.ErrType, always, `1: top level: want an array, or an object with an array under "queries"; got string`}},
			reason: "neither array nor object",
		},
		{
			name: "empty queries", new: `{"queries": []}`,
			want:   []wantFault{{impulse.ErrEmpty, always, `1: queries: no records in the file`}},
			reason: "as an empty list",
		},
		{
			name: "queries twice", new: `{"queries": [` + currentRecord + `], "queries": 0}`,
			want:   []wantFault{{impulse.ErrDuplicateKey, always, `6: queries: key given twice`}},
			reason: "on the top level too",
		},
		{
			name: "deep beside the records", new: `{"x": ` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
			want:   []wantFault{{impulse.ErrDepth, always, `1: x: more than 64 arrays and objects within one another`}},
			reason: "the limit is for the file",
		},
		{
			name: "syntax within a record", new: `[` + currentRecord + `, {"meta": {"id": "q2", "lang": 'EN'}}]`,
			want:   []wantFault{{impulse.ErrSyntax, always, `6: index 1 (q2) meta.lang: unexpected '\'', want a value (byte offset 441)`}},
			reason: "what was read before says where",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			record := row.record
			if record == "" {
				record = currentRecord
			}
			data := row.new
			if row.old != "" || row.new == "" {
				require.Contains(t, record, row.old)
				data = "[" + strings.Replace(record, row.old, row.new, 1) + "]"
			}
			for _, validate := range []bool{always, strict} {
				opts := impulse.Options{Validate: validate}
				if row.schema != "" && validate {
					opts = impulse.Options{Schema: []byte(row.schema)}
				}
				batches, err := impulse.Parse([]byte(data), "b.json", opts)
				compareFaults(t, "b.json", row.want, validate, batches, err)
			}
		})
	}
}

func TestFaultsAcrossFiles(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	a, b := write("a.json", "["+currentRecord+"]"), write("b.json", `{"queries": [`+currentRecord+`]}`)
	v1 := write("v1.json", "["+strings.Replace(v1Record, "q1", "q2", 1)+","+strings.Replace(v1Record, "q1", "q3", 1)+"]")
	fine := write("fine.json", "["+strings.Replace(currentRecord, "q1", "q4", 1)+"]")
	for _, row := range []struct {
		name, reason string
		files        []string
		validate     bool
		err          error
		want         []string
	}{
		{
			name: "same id", files: []string{a, fine, b}, validate: true, err: impulse.ErrDuplicateID,
			want:   []string{b + `:6: index 0 (q1) meta.id: "q1" already used at index 0 of ` + a},
			reason: "the first file is named",
		},
		{
			name: "mixed variants", files: []string{fine, v1, a}, err: impulse.ErrVariant,
			want: []string{v1 + `:1: index 0 (q2): a record of the v1 variant, but index 0 of ` + fine +
				` is of the current one (only v1 has metric); want one variant in all files`},
			reason: "both files are named, and once is enough",
		},
		{
			name: "metric lost", files: []string{v1, a}, validate: true, err: impulse.ErrVariant,
			want: []string{a + `:1: index 0 (q1): a record of the current variant, but index 0 of ` + v1 +
				` is of the v1 one (only v1 has metric); want one variant in all files`},
			reason: "the reverse",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := impulse.ReadFiles(t.Context(), row.files, impulse.Options{Validate: row.validate})
			var faults *impulse.FaultsError
			require.ErrorAs(t, err, &faults)
			require.Equal(t, row.err, faults.Faults[0].Cause())
			want := strings.Join(row.want, "\n") + "\nimpulse: errors: 1, warnings: 0, files with faults: 1"
			require.EqualError(t, err, want, row.reason)
		})
	}
}

// Without Validate, filters and organisations are passed on as they are.
func TestPassedOnAsRead(t *testing.T) {
	record := strings.NewReplacer(
		`"year": null`, `"years": [2.50, -0, 1E5, {}, [], true]`,
		`{"type": "company", "name": "Ona", "location": null, "location_level": null}`, `"Ona <\u00e8\/>"`,
	).Replace(currentRecord)
	batches, err := impulse.Parse([]byte("["+record+"]"), "b.json", impulse.Options{})
	require.NoError(t, err)
	want := `{
  "doc_type": "projects",
  "filters": {
    "programme": null,
    "funding_level": null,
    "years": [
      2.50,
      -0,
      1E5,
      {},
      [],
      true
    ],
    "location": null,
    "location_level": null
  },
  "organisations": [
    "Ona <è/>"
  ],
`
	require.True(t, strings.HasPrefix(batches.Records[0].Answer, want), batches.Records[0].Answer)

	// A schema that allows metric without naming it: the current variant, which leaves it out.
	batches, err = impulse.Parse([]byte("["+v1Record+"]"), "b.json", impulse.Options{Schema: []byte(`{}`)})
	require.NoError(t, err)
	require.Equal(t, impulse.Current, batches.Variant)
	require.NotContains(t, batches.Records[0].Answer, "metric")
}

func TestFaultIsError(t *testing.T) {
	_, err := impulse.Parse(nil, "b.json", impulse.Options{})
	var faults *impulse.FaultsError
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults.Faults, 1)
	fault := faults.Faults[0]
	require.Equal(t, impulse.ErrSyntax, fault.Cause())
	require.Equal(t, "b.json:1: top level: the file is empty (byte offset 0)", fault.Error())
}
