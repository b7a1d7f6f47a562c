package update

// hasFMA reports whether fmaColumns can be called.
func hasFMA() bool { return true }
