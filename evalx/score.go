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
	// Comparators names how fields are compared, by their names, for people and
	// for those who compare results; nil says nothing of it.
	Comparators map[string]string
	// Groups split the counts of a [Summary].
	Groups []Group
	// Read turns an answer into a value; nil is [Parse]. A value is what
	// Schema and Fields see, so Read decides how lenient the scores are.
	Read func(answer string) (Value, error)
	// StandIn is scored in place of an answer that cannot be read. With nil
	// every field of such an answer is wrong and it has failed, which is what to
	// want; some published scores give it the marks of an empty answer. It has
	// its ParseError either way.
	StandIn Value
	// Classes are looked for in every answer.
	Classes []Class
	// Passed decides whether an answer that was read, or has a stand-in, has
	// passed; nil asks that it complies with the schema and that every field is
	// correct. It sees the result complete but for the verdict itself.
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
	// ID is the caller's name for the question or, where one question has several
	// answers, for the answer: QuestionID is the question's then. Question is its
	// text for people. Score leaves all three empty.
	ID, QuestionID, Question string
	// Want is the wanted value.
	Want Value
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
	// NoSchema: there was no schema that the answer could have violated.
	NoSchema bool
	// Fields are the task's, in order. If the answer could not be read, Got is
	// [Missing] and Correct is false in all of them, unless the task has a
	// StandIn.
	Fields []FieldResult
	// AllCorrect: the answer was read, or has a stand-in, and every field is
	// correct.
	AllCorrect bool
	// Errors are the findings of the task's classes, sorted by their text.
	Errors []Finding
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
	Name      string // as in the Field, its path if it has none
	Path      string
	Want, Got Value
	Correct   bool
}

// Field returns the score of the field with a name, false if there is none.
func (r Result) Field(name string) (FieldResult, bool) {
	for _, f := range r.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return FieldResult{}, false
}

// ValidJSON reports whether the answer could be read.
func (r Result) ValidJSON() bool { return r.ParseError == nil }

// Compliant reports whether the answer could be read and has no violations, which
// one without a schema cannot have.
func (r Result) Compliant() bool { return r.ParseError == nil && len(r.Violations) == 0 }

// Score compares an answer with the wanted value. It never fails: whatever is
// wrong with the answer is in the result.
func (t Task) Score(want Value, answer string) Result {
	r := Result{Want: want, Answer: answer, NoSchema: t.Schema == nil}
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
		if t.StandIn == nil {
			for _, f := range t.Fields {
				r.Fields = append(r.Fields, FieldResult{Name: f.name(), Path: f.Path, Want: Lookup(want, f.Path), Got: Missing{}})
			}
			r.Errors = findAll(t.Classes, r, Missing{})
			return r
		}
		got = t.StandIn
	} else {
		r.Violations = t.Schema.Validate(got)
	}
	r.AllCorrect = true
	for _, f := range t.Fields {
		scored := f.score(want, got)
		r.AllCorrect = r.AllCorrect && scored.Correct
		r.Fields = append(r.Fields, scored)
	}
	r.Errors = findAll(t.Classes, r, got)
	if t.Passed != nil {
		r.Passed = t.Passed(r)
	} else {
		r.Passed = r.Compliant() && r.AllCorrect
	}
	return r
}
