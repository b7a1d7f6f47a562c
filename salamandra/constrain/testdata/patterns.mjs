// Records what an engine of ECMA-262 says of random patterns and strings.
//
//   node patterns.mjs | gzip -9n > patterns.jsonl.gz
//
// A line is {"pattern", "yes": [...], "no": [...]}: the strings in which the pattern
// matches, with the flag u, and those in which it does not.
let state = 20261128;
function random(n) { // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}
const pick = (...list) => list[random(list.length)];

const letter = () => pick("a", "b", "c", "1", "-", "_", " ", "é", "😀", ":", "/");
const escape = () => pick("\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\n", "\\t", "\\.", "\\/", "\\\\", "\\x61", "\\u0062", "\\u{1F600}", "\\ud83d\\ude00", "\\cJ", "\\0", "\\p{L}", "\\P{Lu}", "\\p{Nd}", "\\p{Script=Greek}");
const inClass = () => pick(letter().replace("-", "b"), "a-c", "0-9", "\\d", "\\w", "\\s", "\\S", "\\b", "\\-", "[", ".", "$", "\\]", "\\u00e9");
function atom(depth) {
  switch (random(depth > 0 ? 12 : 7)) {
    case 0: case 1: case 2: return letter();
    case 3: return ".";
    case 4: return escape();
    case 5: return "[" + pick("", "^") + Array.from({ length: 1 + random(3) }, inClass).join("") + "]";
    case 6: return pick("[]", "[^]", "\\b", "\\B", "^", "$");
    case 7: case 8: return pick("(", "(?:", "(?<n" + random(1e6) + ">") + pattern(depth - 1) + ")";
    case 9: return "(?=" + pattern(depth - 1) + ")";
    case 10: return "(?!" + pattern(depth - 1) + ")";
  }
  return pick("(?<=", "(?<!") + pick("a", "\\d", "[ab]", "ab?", "a|b1", "^", "-+") + ")";
}
function term(depth) {
  const a = atom(depth);
  return a + (random(3) === 0 ? pick("*", "+", "?", "*?", "+?", "{2}", "{1,2}", "{0,3}", "{2,}") : "");
}
function pattern(depth) {
  const branch = () => Array.from({ length: 1 + random(3) }, () => term(depth)).join("");
  return branch() + (random(4) === 0 ? "|" + branch() : "");
}
const text = () => Array.from({ length: random(7) }, () => pick("a", "b", "c", "1", "-", "_", " ", "\n", "é", "😀", ":", "/", "B", "λ", "\u2028", "\ufeff", "\0", "\\", "[", "$")).join("");

// Patterns that people write.
const known = [
  "^(?!.*://)(?=.{1,255}$)((.{1,63}\\.){1,20}(?![0-9]*$)[a-z0-9-]+\\.?)$", "^(?!abc).*$", "^((?!ab).)*$", "^(?=.*[a-z])(?=.*\\d).{2,6}$",
  "^(?:(?!1)[0-9a])+$", "^[^/]+(?<!/)$", "(?<![a-z])b", "\\bab\\b", "^a(?!b|$)", "^(?!\\s)(?!.*\\s$).+$", "^(?!-)[a-c1-]{1,4}(?<!-)$", "^\\S+$", "^[\\w.-]+$",
  "^(?!(a|b)$)[a-c]+$", "^(?![\\s\\S]*--)[a-z-]+$", "^\\p{L}+$", "^[\\p{L}\\d_]+$", "^(?:a|(?=b)b|c(?!c))*$", "a(?=b)", "(?=a)b", "(?!)", "(?=)",
];
const patterns = new Set(known);
while (patterns.size < 600) {
  const p = pattern(2);
  try {
    new RegExp(p, "u");
    patterns.add(p);
  } catch {} // such as a quantifier behind a lookaround
}
for (const p of patterns) {
  const engine = new RegExp(p, "u"), yes = [], no = [];
  const texts = new Set(["", "ab", "abc", "a1", "a-b", "1", "aab", "b1-"]);
  while (texts.size < 16) texts.add(text());
  for (const s of texts) (engine.test(s) ? yes : no).push(s);
  console.log(JSON.stringify({ pattern: p, yes, no }));
}
