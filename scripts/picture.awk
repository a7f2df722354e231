# Turns what a program wrote to a terminal, colours and all, into an SVG picture:
#
#   CLICOLOR_FORCE=1 scripts/demo.sh | LC_ALL=C awk -v title='make demo' -f scripts/picture.awk >docs/pictures/demo.svg
#
# Knows one colour or style at a time, which is all that our programs use.

BEGIN {
  split("1 fill='#ffffff' font-weight='bold'|2 fill='#6e7681'|31 fill='#ff7b72'|32 fill='#7ee787'|33 fill='#e3b341'|36 fill='#56d4dd'", styles, "|")
  for (n in styles) { code = styles[n]; sub(/ .*/, "", code); sub(/^[0-9]+ /, "", styles[n]); style[code] = styles[n] }
  advance = 8.1; height = 18; left = 16; top = 54
}

function escaped(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text); return text }

# Characters, not bytes: continuation bytes of UTF-8 do not count.
function width(text) { gsub(/[\200-\277]/, "", text); return length(text) }

function piece(text, code,   shape) {
  if (text == "") return
  shape = code in style ? " " style[code] : ""
  body = body sprintf("<tspan x='%.1f' textLength='%.1f'%s>%s</tspan>", left + at * advance, width(text) * advance, shape, escaped(text))
  at += width(text)
}

{
  sub(/.*\r/, "")
  body = ""; at = 0; code = ""; rest = $0
  while (match(rest, /\033\[[0-9;]*[mK]/)) {
    piece(substr(rest, 1, RSTART - 1), code)
    code = substr(rest, RSTART + 2, RLENGTH - 3)
    rest = substr(rest, RSTART + RLENGTH)
  }
  piece(rest, code)
  if (at > widest) widest = at
  lines[++count] = body
}

END {
  w = int(widest * advance + 2 * left + 8); h = count * height + top + 6
  printf "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' viewBox='0 0 %d %d' role='img'>\n", w, h, w, h
  printf "<title>%s</title>\n", escaped(title)
  printf "<rect width='%d' height='%d' rx='8' fill='#0d1117'/>\n", w, h
  printf "<circle cx='20' cy='18' r='6' fill='#ff5f56'/><circle cx='40' cy='18' r='6' fill='#ffbd2e'/><circle cx='60' cy='18' r='6' fill='#27c93f'/>\n"
  print "<g font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" font-size='13.4' fill='#c9d1d9' xml:space='preserve'>"
  for (n = 1; n <= count; n++)
    if (lines[n] != "") printf "<text y='%d'>%s</text>\n", top + (n - 1) * height, lines[n]
  print "</g>\n</svg>"
}
