package impulse

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/dataset/impulse"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/evalx/report"
)

// scoresDir holds the answers and their published verdicts: testdata/scores, or
// another directory with the same files.
func scoresDir() string { return cmp.Or(os.Getenv("IMPULSE_SCORES"), "testdata/scores") }

// scoresFile reads a file of scoresDir, which can be gzipped there.
func scoresFile(t testing.TB, name string) []byte {
	t.Helper()
	path := filepath.Join(scoresDir(), name)
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
		return data
	}
	file, err := os.Open(path + ".gz")
	require.NoError(t, err)
	defer file.Close()
	unzip, err := gzip.NewReader(file)
	require.NoError(t, err)
	data, err = io.ReadAll(unzip)
	require.NoError(t, err)
	return data
}

// scoresQuestions are the annotated questions, which can also lie one directory
// up.
func scoresQuestions(t testing.TB) map[string]evalx.Value {
	t.Helper()
	path := filepath.Join(scoresDir(), "test_set.json")
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(scoresDir(), "..", "test_set.json")
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	records, err := evalx.Parse(string(data))
	require.NoError(t, err)
	questions := map[string]evalx.Value{}
	for _, r := range records.([]any) {
		questions[evalx.Lookup(r, "meta.id").(string)] = r
	}
	return questions
}

func jsonLines[T any](t testing.TB, data []byte) []T {
	t.Helper()
	var lines []T
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		var line T
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line))
		lines = append(lines, line)
	}
	require.NoError(t, scanner.Err())
	return lines
}

// answerLine is a line of predictions.jsonl and of peer_differs.jsonl.
type answerLine struct {
	ID       string   `json:"id"`
	Run      string   `json:"run"`
	TestID   string   `json:"test_id"`
	Kind     string   `json:"kind"`
	Response string   `json:"response"`
	Want     *verdict `json:"want"`
}

// verdict is a line of verdicts.jsonl but for its ids and valid_json, which is
// always true.
type verdict struct {
	JSONOK    bool            `json:"json_ok"`
	Language  bool            `json:"language_correct"`
	Predicted *string         `json:"predicted_language"`
	Expected  string          `json:"expected_language"`
	Filters   map[string]bool `json:"filters"`
	Exact     bool            `json:"organisations_exact"`
	Relaxed   bool            `json:"organisations_relaxed"`
	Topic     bool            `json:"semantic_query"`
	AllStrict bool            `json:"all_correct_strict"`
	AllRelax  bool            `json:"all_correct_relaxed"`
	Errors    []string        `json:"errors"`
}

func verdictOf(r evalx.Result) verdict {
	correct := func(label string) bool {
		f, ok := r.Field(label)
		return ok && f.Correct
	}
	v := verdict{
		JSONOK: r.ValidJSON(), Language: correct("language"), Expected: evalx.Lookup(r.Want, "meta.lang").(string),
		Filters: map[string]bool{}, Exact: correct("organisations_exact"), Relaxed: correct("organisations_relaxed"),
		Topic: correct("semantic_query"), AllStrict: r.AllCorrect, AllRelax: r.Passed, Errors: []string{},
	}
	if f, _ := r.Field("language"); len(f.Got.([]any)) > 0 {
		first := f.Got.([]any)[0].(string)
		v.Predicted = &first
	}
	for _, key := range filterKeys {
		v.Filters[key] = correct("filters." + key)
	}
	for _, e := range r.Errors {
		v.Errors = append(v.Errors, e.String())
	}
	return v
}

func goldenRules(t testing.TB, name string) evalx.Task {
	t.Helper()
	r, err := New(name, Options{Schema: impulse.Schema(impulse.Current), Equivalences: filepath.Join(scoresDir(), "equivalences")})
	require.NoError(t, err)
	return r
}

// goldenResults scores the answers of predictions.jsonl.
func goldenResults(t testing.TB, r evalx.Task) (lines []answerLine, results []evalx.Result) {
	t.Helper()
	questions := scoresQuestions(t)
	lines = jsonLines[answerLine](t, scoresFile(t, "predictions.jsonl"))
	for _, line := range lines {
		result := r.Score(questions[line.TestID], line.Response)
		result.ID = line.ID
		results = append(results, result)
	}
	return lines, results
}

func TestPublishedVerdicts(t *testing.T) {
	lines, results := goldenResults(t, goldenRules(t, Published))
	verdicts := jsonLines[verdict](t, scoresFile(t, "verdicts.jsonl"))
	require.NotEmpty(t, lines)
	require.Len(t, verdicts, len(lines))
	for i, line := range lines {
		require.Equal(t, verdicts[i], verdictOf(results[i]), "%s, %s: %s", line.ID, line.Kind, line.Response)
	}
}

func TestPublishedTotals(t *testing.T) {
	lines, results := goldenResults(t, goldenRules(t, Published))
	runs := map[string][]evalx.Result{"all": results}
	for i, line := range lines {
		runs[line.Run] = append(runs[line.Run], results[i])
	}
	got := map[string]publishedTotals{}
	for run, results := range runs {
		got[run] = countPublished(results)
	}
	data, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(scoresFile(t, "summary.json")), string(data))

	var table bytes.Buffer
	require.NoError(t, WriteTable(&table, report.Run{Task: Published, Results: runs["A"]}))
	require.Equal(t, string(scoresFile(t, "table_A.tsv")), table.String(), "byte for byte")

	var summary strings.Builder
	require.NoError(t, WriteSummary(&summary, report.Run{Task: Published, Results: runs["A"]}))
	valid := evalx.Summarize(runs["A"]).Overall.ValidJSON
	require.Contains(t, summary.String(), "JSON validity: "+valid.String(), "what is JSON")
	require.Contains(t, summary.String(), fmt.Sprintf(`"valid_json": %d,`, got["A"].ValidJSON), "what is published as such")
}

// Where the peer stops with a traceback, or reads what is not JSON, its rules
// are completed.
func TestPublishedWherePeerStops(t *testing.T) {
	r, questions := goldenRules(t, Published), scoresQuestions(t)
	standard := goldenRules(t, Standard)
	lines := jsonLines[answerLine](t, scoresFile(t, "peer_differs.jsonl"))
	require.NotEmpty(t, lines)
	for _, line := range lines {
		got := verdictOf(r.Score(questions[line.TestID], line.Response))
		if line.Want != nil {
			require.Equal(t, *line.Want, got, "%s, %s: %s", line.ID, line.Kind, line.Response)
		}
		require.False(t, standard.Score(questions[line.TestID], line.Response).Passed, "%s, %s", line.ID, line.Kind)
	}
}
