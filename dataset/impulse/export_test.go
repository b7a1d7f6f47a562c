package impulse

// Causes of faults, for tests.
var (
	ErrSyntax       = errSyntax
	ErrUTF8         = errUTF8
	ErrDepth        = errDepth
	ErrDuplicateKey = errDuplicateKey
	ErrType         = errType
	ErrMissing      = errMissing
	ErrUnknownKey   = errUnknownKey
	ErrValue        = errValue
	ErrBlank        = errBlank
	ErrDuplicateID  = errDuplicateID
	ErrControlToken = errControlToken
	ErrVariant      = errVariant
	ErrEmpty        = errEmpty
	ErrInconsistent = errInconsistent
	ErrBOM          = errBOM
)

// Cause is why there is the fault.
func (f Fault) Cause() error { return f.err }
