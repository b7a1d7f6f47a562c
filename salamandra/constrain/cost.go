package constrain

// fits reports whether the cost of n is at most budget.
func (c *cache) fits(n *node, budget int) bool {
	return n.min <= budget || n.min <= budget*c.v.longest && c.cost(n) <= budget
}

// cost returns the least number of tokens that spell the shortest completion of
// n, the one that shortestStep leads to. For every cost above 0 there is a
// token after which the cost is one less.
func (c *cache) cost(n *node) int {
	if known, ok := c.costs[n]; ok {
		return known
	}
	// The states on the way, up to where all tokens from unknown ones end.
	var states []*node
	var costs []int
	var text []byte
	unknown := 0
	for at := n; ; {
		known, ok := c.costs[at]
		if !ok {
			known = at.min // a byte, a token
			unknown = len(states) + 1
		}
		states, costs = append(states, at), append(costs, known)
		if at.min == 0 || len(states) > unknown+c.v.longest {
			break
		}
		if c.b.spent() {
			return n.min
		}
		letter, next := c.b.shortestStep(at)
		text, at = append(text, letter), next
	}
	for i := unknown - 1; i >= 0; i-- {
		for place, k := int32(-1), i; k < len(text); k++ {
			c.b.work++
			if place = c.v.child(place, text[k]); place < 0 {
				break
			}
			if len(c.v.endingAt(place)) > 0 {
				costs[i] = min(costs[i], 1+costs[k+1])
			}
		}
		c.costs[states[i]] = costs[i]
	}
	return costs[0]
}
