// Package atomicfile writes files and directories that are complete or absent:
// under a temporary name, synced, then renamed, in a directory that is synced
// too. A process that is killed leaves at most a name that ends in .tmp- and
// eight hexadecimal digits, which the next one removes where it can tell that
// nobody works there.
package atomicfile
