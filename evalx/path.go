package evalx

import (
	"strconv"
	"strings"
)

// joinPath returns the path of a key below another path.
func joinPath(path, key string) string {
	if key == "" || key == "*" || strings.ContainsAny(key, `.[]"`) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// splitPath returns the keys that a path is made of, and false if it is not one
// of keys only.
func splitPath(path string) (keys []string, ok bool) {
	if path == "" {
		return nil, true
	}
	if !strings.Contains(path, "[") {
		return strings.Split(path, "."), true
	}
	for first := true; path != ""; first = false {
		if rest, bracket := strings.CutPrefix(path, "["); bracket {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil || quoted[0] != '"' || !strings.HasPrefix(rest[len(quoted):], "]") {
				return nil, false
			}
			key, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, false
			}
			keys, path = append(keys, key), rest[len(quoted)+1:]
			continue
		}
		if !first {
			var dot bool
			if path, dot = strings.CutPrefix(path, "."); !dot {
				return nil, false
			}
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		keys, path = append(keys, path[:end]), path[end:]
	}
	return keys, true
}
