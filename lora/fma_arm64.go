package lora

// hasFMA tells whether fmaColumns can be called.
func hasFMA() bool { return true }
