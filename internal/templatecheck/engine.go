package templatecheck

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Limits of one rendering.
const (
	maxTime     = time.Second
	maxTemplate = 64 << 10 // bytes; known ones have up to 20 KiB
	maxOutput   = 1 << 20  // bytes written
	maxWork     = 64 << 20 // bytes of template gone through, a turn of a loop counting as all
	maxCalls    = 10_000   // of macros, which may call themselves
	maxRange    = 100_000  // numbers, as in Jinja's sandbox
	maxValue    = 1 << 20  // bytes of a text, or the largest number, that a set may store
)

// engine renders one template.
type engine struct {
	template *jinja.Template
	texts    []string
	length   int
	tokens   map[string]string
	timeout  time.Duration
}

func compile(source string, tokens map[string]string) (*engine, error) {
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("the template has %d bytes, at most %d are tried", len(source), maxTemplate)
	}
	// Jinja reads all line breaks as \n and drops one at the end; the library
	// does neither.
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	watched, texts, err := watch(strings.TrimSuffix(source, "\n"))
	if err != nil {
		return nil, err
	}
	t, err := protect(func() (*jinja.Template, error) { return jinja.Compile(watched) })
	if err != nil {
		return nil, err
	}
	return &engine{template: t, texts: texts, length: len(source), tokens: tokens, timeout: maxTime}, nil
}

// protect turns a panic of the library into an error.
func protect[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the template library failed: %v", p)
		}
	}()
	return f()
}

// outcome is what a rendering gave.
type outcome struct {
	text    string
	clock   bool   // the template called strftime_now
	refused string // what it gave raise_exception
	err     error
}

// render runs the template; date is given as date_string unless it is empty.
func (e *engine) render(messages []chatml.Message, prompt bool, date string) outcome {
	done := make(chan outcome, 1)
	w := &watcher{end: time.Now().Add(e.timeout), length: e.length, texts: e.texts, date: date}
	go func() {
		text, err := protect(func() (string, error) { return e.template.RenderValues(e.variables(messages, prompt, w)) })
		if err == nil && len(text) > maxOutput {
			err = errOutput
		}
		done <- outcome{text: text, clock: w.clock, refused: w.refused, err: err}
	}()
	// The watcher ends nearly all templates at the time; what it cannot see is
	// left behind shortly after.
	timer := time.NewTimer(e.timeout + e.timeout/10)
	defer timer.Stop()
	select {
	case out := <-done:
		return out
	case <-timer.C:
		return outcome{err: errTime}
	}
}

// variables are those that Transformers gives, and the watcher's functions.
func (e *engine) variables(messages []chatml.Message, prompt bool, w *watcher) map[string]jinja.Value {
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = map[string]any{"role": string(m.Role), "content": m.Content}
	}
	vars := map[string]jinja.Value{
		"messages":              jinja.FromGoValue(list),
		"add_generation_prompt": jinja.NewBool(prompt),
		"tools":                 jinja.FromGoValue(nil),
		"documents":             jinja.FromGoValue(nil),
	}
	for key, token := range e.tokens {
		vars[key] = jinja.NewString(token)
	}
	if w.date != "" {
		vars["date_string"] = jinja.NewString(w.date)
	}
	for name, f := range map[string]func([]jinja.Value) (jinja.Value, error){
		"raise_exception": w.raise,
		"strftime_now":    w.now,
		"range":           w.numbers,
		turnName:          w.turn,
		callName:          w.call,
		storeName:         w.store,
		writeName:         w.write,
		textName:          w.text,
	} {
		vars[name] = jinja.NewCallable(name, func(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) { return f(args) })
	}
	return vars
}

// Reasons for which a rendering is given up.
var (
	errTime   = fmt.Errorf("it takes longer than %v", maxTime)
	errOutput = fmt.Errorf("it writes more than %d bytes", maxOutput)
	errWork   = errors.New("its loops have too many turns")
	errCalls  = fmt.Errorf("its macros are called more than %d times", maxCalls)
	errValue  = errors.New("it stores a text or a number that is too large")
	errRange  = fmt.Errorf("a range has more than %d numbers", maxRange)
)

// watcher is what a running template is asked through. It belongs to one
// goroutine.
type watcher struct {
	end     time.Time
	date    string
	length  int // of the template
	texts   []string
	work    int
	calls   int
	written int
	clock   bool
	refused string
}

func (w *watcher) turn([]jinja.Value) (jinja.Value, error) {
	w.work += w.length
	switch {
	case time.Now().After(w.end):
		return jinja.Undefined(), errTime
	case w.work > maxWork:
		return jinja.Undefined(), errWork
	}
	return jinja.NewString(""), nil
}

func (w *watcher) call(args []jinja.Value) (jinja.Value, error) {
	if w.calls++; w.calls > maxCalls {
		return jinja.Undefined(), errCalls
	}
	return w.turn(args)
}

func (w *watcher) store(args []jinja.Value) (jinja.Value, error) {
	for _, v := range args {
		if v.IsString() && len(v.AsString()) > maxValue || v.IsInt() && (v.AsInt() > maxValue || v.AsInt() < -maxValue) {
			return jinja.Undefined(), errValue
		}
	}
	return jinja.NewString(""), nil
}

// write passes on what is about to be written.
func (w *watcher) write(args []jinja.Value) (jinja.Value, error) {
	if len(args) != 1 {
		return jinja.Undefined(), fmt.Errorf("an expression gives %d values, want 1", len(args))
	}
	if args[0].IsString() {
		w.written += len(args[0].AsString())
	}
	switch {
	case time.Now().After(w.end):
		return jinja.Undefined(), errTime
	case w.written > maxOutput:
		return jinja.Undefined(), errOutput
	}
	return args[0], nil
}

// text gives a text of the template by its number.
func (w *watcher) text(args []jinja.Value) (jinja.Value, error) {
	return w.write([]jinja.Value{jinja.NewString(w.texts[args[0].AsInt()])})
}

func (w *watcher) raise(args []jinja.Value) (jinja.Value, error) {
	w.refused = "no reason given"
	if len(args) > 0 && plain(args[0]) != "" {
		w.refused = plain(args[0])
	}
	return jinja.Undefined(), errors.New(w.refused)
}

// plain is a value as Jinja writes it; String quotes texts.
func plain(v jinja.Value) string {
	if v.IsString() {
		return v.AsString()
	}
	return v.String()
}

// now gives the template's own day in place of the clock's.
func (w *watcher) now(args []jinja.Value) (jinja.Value, error) {
	w.clock = true
	day, err := time.Parse(time.DateOnly, w.date)
	if err != nil {
		day, _ = time.Parse(time.DateOnly, chatml.DefaultDate)
	}
	format := "%Y-%m-%d"
	if len(args) > 0 {
		format = plain(args[0])
	}
	var pairs []string
	for code, layout := range map[string]string{
		"%Y": "2006", "%y": "06", "%m": "01", "%d": "02", "%B": "January", "%b": "Jan",
		"%A": "Monday", "%a": "Mon", "%H": "15", "%I": "03", "%M": "04", "%S": "05", "%p": "PM",
		"%-d": "2", "%-m": "1", "%F": time.DateOnly, "%T": time.TimeOnly,
	} {
		pairs = append(pairs, code, day.Format(layout))
	}
	return jinja.NewString(strings.NewReplacer(append(pairs, "%%", "%")...).Replace(format)), nil
}

// numbers is range.
func (w *watcher) numbers(args []jinja.Value) (jinja.Value, error) {
	start, stop, step := int64(0), int64(0), int64(1)
	for _, a := range args {
		if !a.IsInt() {
			return jinja.Undefined(), errors.New("range of something else than whole numbers")
		}
	}
	switch len(args) {
	case 1:
		stop = args[0].AsInt()
	case 3:
		step = args[2].AsInt()
		fallthrough
	case 2:
		start, stop = args[0].AsInt(), args[1].AsInt()
	default:
		return jinja.Undefined(), fmt.Errorf("range with %d arguments, want 1 to 3", len(args))
	}
	if step == 0 {
		return jinja.Undefined(), errors.New("range with step 0")
	}
	var items []jinja.Value
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(items) == maxRange {
			return jinja.Undefined(), errRange
		}
		items = append(items, jinja.NewInt(i))
	}
	return jinja.NewList(items), nil
}
