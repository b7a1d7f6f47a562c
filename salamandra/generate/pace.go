package generate

import "github.com/impulse-salamandra/finetune/salamandra"

// pace is how long steps of one row, or of several, take. It is measured on the Go
// backend, where a token's result is the same, to the last bit, in a step of any size.
// On XLA it is not, and the same requests are to take the same steps: there the guess
// stays.
type pace struct {
	w     int     // rows
	guess float64 // what a step costs beside its tokens, in tokens, while little is known
	fixed bool    // nothing is measured
	n     float64 // a straight line: of 1, cost, its square, seconds, seconds times cost
	x, xx float64 // the sums over the steps of late
	y, xy float64
}

const (
	paceKept   = 0.98 // of the sums, at each step
	paceWeight = 2    // of the guess, in steps
)

// newPace is that of steps of w rows of a model. The guesses are of SmolLM2 on
// processors, and of a 7B on an H100 by its bandwidth and half its speed.
func newPace(m *salamandra.Model, w int) *pace {
	switch {
	case exact(m):
		return &pace{w: w, guess: 16}
	case m.Backend().HasSharedBuffers():
		return &pace{w: w, guess: 64, fixed: true}
	}
	return &pace{w: w, guess: 128, fixed: true}
}

// note takes a step into account.
func (p *pace) note(z size, seconds float64) {
	if p.fixed {
		return
	}
	for _, sum := range []*float64{&p.n, &p.x, &p.xx, &p.y, &p.xy} {
		*sum *= paceKept
	}
	p.add(1, p.tokens(z), seconds)
}

func (p *pace) add(weight, x, y float64) {
	p.n += weight
	p.x += weight * x
	p.xx += weight * x * x
	p.y += weight * y
	p.xy += weight * x * y
}

// tokens is how many tokens a size is worth: attention is computed for all places of
// rows.
func (p *pace) tokens(z size) float64 {
	if p.w == 1 {
		return float64(z.n)
	}
	return float64(z.n) + float64(p.w*z.s)/8
}

// cost is what a step of a size takes, in seconds once there were some.
func (p *pace) cost(z size) float64 {
	fixed, token := p.line()
	return fixed + token*p.tokens(z)
}

// token is what one more token takes.
func (p *pace) token() float64 {
	_, token := p.line()
	return token
}

// line is what a step takes beside its tokens, at least what 4 of them take and at most
// what 256 do, and what a token takes.
func (p *pace) line() (fixed, token float64) {
	if p.n == 0 {
		return p.guess, 1
	}
	q, unit := *p, p.y/(p.n*p.guess+p.x)
	for _, x := range []float64{1, 64} {
		q.add(paceWeight, x, (p.guess+x)*unit)
	}
	mean := q.y / q.n
	token = (q.n*q.xy - q.x*q.y) / (q.n*q.xx - q.x*q.x)
	token = max(mean/(256+q.x/q.n), min(token, mean/(4+q.x/q.n)))
	return mean - token*q.x/q.n, token
}
