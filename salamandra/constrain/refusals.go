package constrain

// reason is why a schema is refused.
type reason int

const (
	badJSON reason = iota
	badSchema
	badKeyword
	badType
	badCount
	badLimit
	badMultiple
	badList
	badRequired
	oldBoolean
	oldItems
	unknownDialect
	unknownKeyword
	unknownFormat
	longNumber
	deepReference
	lostReference
	dynamicReference
	recursiveReference
	badPattern
	largePattern
	largeNames
	manyAlternatives
	manyMembers
	manyBytes
	manyStates
	highCount
	lateSchema
	oppositeUnique
	oppositeUnevaluated
	unevaluatedChoice
	unevaluatedContains
	uniqueForms
	manyContains
	wideMultiple
	doubleNames
	noValue
	lastReason
)

// refusal is what is said of a schema that is refused: the cause, what was found,
// and the nearest form that is taken.
type refusal struct {
	cause        error
	why, instead string
}

// refusals are all there are.
var refusals = [lastReason]refusal{
	badJSON:             {ErrMalformed, "%v", "one JSON value in UTF-8, with no key twice in an object"},
	badSchema:           {ErrMalformed, "a schema is an object or a boolean, not %s", "{} or true for any value, {\"const\": VALUE} for one"},
	badKeyword:          {ErrMalformed, "%s is %s", "a value that is %s"},
	badType:             {ErrMalformed, "type %q", "one or several of null, boolean, integer, number, string, array, object"},
	badCount:            {ErrMalformed, "%s is no count", "an integer of 0 or more"},
	badLimit:            {ErrUnsupported, "%s has too many digits", "a number of at most 100 digits with an exponent of at most 100"},
	badMultiple:         {ErrMalformed, "multipleOf is not above 0", "a number above 0"},
	badList:             {ErrMalformed, "%s has no schema", "an array with at least one"},
	badRequired:         {ErrMalformed, "required lists what is no string", "an array of names"},
	oldBoolean:          {ErrMalformed, "%s is a boolean, as in draft 4", "a number, or the $schema of draft 4"},
	oldItems:            {ErrMalformed, "items is an array, as in earlier drafts", "prefixItems, or the $schema of draft 2019-09"},
	unknownDialect:      {ErrUnsupported, "dialect %q", "the $schema of draft 4, 6, 7, 2019-09 or 2020-12, or none"},
	unknownKeyword:      {ErrUnsupported, "%s is no keyword", "a name that begins with x-, or leave out the option strict: it is then an annotation"},
	unknownFormat:       {ErrUnsupported, "format %q is none of the specification", "a pattern, or leave out the option strict: it is then an annotation"},
	longNumber:          {ErrUnsupported, "%v", "limits with at most 17 digits after the point"},
	deepReference:       {ErrUnsupported, "$ref leads back here without an item or member in between", "a reference within properties or items, which one may leave out"},
	lostReference:       {ErrUnsupported, "%s %v", "a reference to a schema under $defs of this one: nothing is fetched or read"},
	dynamicReference:    {ErrUnsupported, "$dynamicRef to an anchor that is set %d times", "$ref to the one that is meant"},
	recursiveReference:  {ErrUnsupported, "$recursiveRef, with a $recursiveAnchor that is set %d times", "$ref to the one that is meant"},
	badPattern:          {ErrUnsupported, "%v", "a pattern of ECMA-262 without back references, and without a lookaround within or around a lookbehind; for words, enum"},
	largePattern:        {ErrTooLarge, "%v", "fewer or smaller counted repetitions; minLength and maxLength for the length of the whole"},
	largeNames:          {ErrTooLarge, "%v", "fewer or simpler patterns in patternProperties and propertyNames"},
	manyAlternatives:    {ErrTooLarge, "its keywords make more than %d alternatives", "anyOf in place of a oneOf whose schemas exclude each other, or a required property with a const of its own in each"},
	manyMembers:         {ErrTooLarge, "its keywords need more than %d members of some kind at once", "the members by name, under required"},
	manyBytes:           {ErrTooLarge, "a schema of %d bytes, more than %d", "a shorter one: descriptions count too"},
	manyStates:          {ErrTooLarge, "the shortest answer is longer than %d bytes", "smaller minLength and minItems, fewer required members"},
	highCount:           {ErrTooLarge, "%s above %d", "a smaller one; what is at most so many may be any number"},
	lateSchema:          {ErrTooLarge, "compiling takes longer than %v", "fewer alternatives, simpler patterns"},
	oppositeUnique:      {ErrUnsupported, "uniqueItems under not, if or a oneOf whose schemas overlap", "uniqueItems outside of these; schemas of oneOf that a required const tells apart"},
	oppositeUnevaluated: {ErrUnsupported, "%s under not, if or a oneOf whose schemas overlap", "additionalProperties or items, or schemas of oneOf that a required const tells apart"},
	unevaluatedChoice:   {ErrUnsupported, "unevaluatedItems or unevaluatedProperties beside anyOf, in a schema that has not, if or oneOf too", "additionalProperties or items in each schema of anyOf"},
	unevaluatedContains: {ErrUnsupported, "unevaluatedItems beside contains", "items or additionalItems"},
	uniqueForms:         {ErrUnsupported, "uniqueItems of such items", "minItems of at most 1 with items that are strings, integers, booleans or null, or enum with at most 64 values, or maxItems 1"},
	manyContains:        {ErrUnsupported, "contains beside uniqueItems, or more than %d times at once", "one of them"},
	wideMultiple:        {ErrUnsupported, "%v", "multipleOf of at most 20000, its decimals left out of account, and 4 at once"},
	doubleNames:         {ErrUnsupported, "minProperties %d, with %d members that are named: other names could come twice", "properties for as many, or minProperties of at most one more than there are"},
	noValue:             {errUnsatisfiable, "its keywords contradict each other", "fewer of them: a required member that another keyword forbids, a type that no alternative has, a minimum above the maximum"},
}
