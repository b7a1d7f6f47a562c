package evalx

// Task says how the answers to one kind of question are scored. It can be used
// by several goroutines if its functions can.
type Task struct {
	// Name is put into saved results.
	Name string
	// Schema is what answers have to comply with; nil accepts every JSON value.
	Schema *Schema
	// Fields are compared with the wanted values.
	Fields []Field
	// Groups split the counts of a [Summary].
	Groups []Group
	// Read turns an answer into a value; nil is [Parse]. A value is what
	// Schema and Fields see, so Read decides how lenient the scores are.
	Read func(answer string) (Value, error)
	// Passed decides whether an answer that was read has passed; nil asks that
	// it complies with the schema and that every field is correct. An answer
	// that cannot be read has failed.
	Passed func(Result) bool
}

// Group splits questions by a property of the wanted value, such as its
// language.
type Group struct {
	Name string // "language", "type"
	Of   func(want Value) string
}

// GroupBy groups by the text at a path of the wanted value, as in [Lookup];
// what is no text is in the group "".
func GroupBy(name, path string) Group {
	return Group{Name: name, Of: func(want Value) string {
		text, _ := Lookup(want, path).(string)
		return text
	}}
}

// Result is the score of one answer.
type Result struct {
	// ID is the caller's name for the question; Score leaves it empty.
	ID string
	// Answer is the text that was scored.
	Answer string
	// Groups are the groups of the question, in the order of the task's.
	Groups []Label
	// ParseError is the reason why the answer could not be read: a
	// [*ParseError] unless the task has its own Read.
	ParseError error
	// Violations are the answer's faults against the schema; nil also if it
	// could not be read.
	Violations []Violation
	// Fields are the task's, in order. If the answer could not be read, Got is
	// [Missing] and Correct is false in all of them.
	Fields []FieldResult
	// AllCorrect: the answer was read and every field is correct.
	AllCorrect bool
	// Passed is the task's verdict.
	Passed bool
}

// Label is a group that a question belongs to: language, CA.
type Label struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// FieldResult is the score of one field. Want and Got are [Missing] where there
// is nothing at the path.
type FieldResult struct {
	Path      string
	Want, Got Value
	Correct   bool
}

// ValidJSON reports whether the answer could be read.
func (r Result) ValidJSON() bool { return r.ParseError == nil }

// Compliant reports whether the answer could be read and has no violations.
func (r Result) Compliant() bool { return r.ParseError == nil && len(r.Violations) == 0 }

// Score compares an answer with the wanted value. It never fails: whatever is
// wrong with the answer is in the result.
func (t Task) Score(want Value, answer string) Result {
	r := Result{Answer: answer}
	for _, g := range t.Groups {
		r.Groups = append(r.Groups, Label{Name: g.Name, Value: g.Of(want)})
	}
	read := t.Read
	if read == nil {
		read = Parse
	}
	got, err := read(answer)
	if err != nil {
		r.ParseError = err
		for _, f := range t.Fields {
			r.Fields = append(r.Fields, FieldResult{Path: f.Path, Want: Lookup(want, f.Path), Got: Missing{}})
		}
		return r
	}
	r.Violations = t.Schema.Validate(got)
	r.AllCorrect = true
	for _, f := range t.Fields {
		correct := f.equal(want, got)
		r.AllCorrect = r.AllCorrect && correct
		r.Fields = append(r.Fields, FieldResult{Path: f.Path, Want: Lookup(want, f.Path), Got: Lookup(got, f.Path), Correct: correct})
	}
	if t.Passed != nil {
		r.Passed = t.Passed(r)
	} else {
		r.Passed = r.Compliant() && r.AllCorrect
	}
	return r
}
