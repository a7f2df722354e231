# The Bjøntegaard delta rate of two curves: how many more bits (percent) the second
# one takes for the same quality, on average over the qualities that both reach.
#
# Reads lines "curve rate quality", the curves named plain and ours, each at least
# two points of different quality, in any order. The logarithm of the rate over the
# quality is taken between the points by monotone cubics (Fritsch and Carlson).

{ count[$1]++; rate[$1, count[$1]] = log($2); quality[$1, count[$1]] = $3 + 0 }

function sort(curve, n,    i, j, t) {
  for (i = 2; i <= n; i++)
    for (j = i; j > 1 && quality[curve, j - 1] > quality[curve, j]; j--) {
      t = quality[curve, j]; quality[curve, j] = quality[curve, j - 1]; quality[curve, j - 1] = t
      t = rate[curve, j]; rate[curve, j] = rate[curve, j - 1]; rate[curve, j - 1] = t
    }
}

# The slope at an end, from the two steps there: never against the first one.
function end_slope(h0, h1, d0, d1,    s) {
  s = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
  if (s * d0 <= 0) return 0
  if (d0 * d1 <= 0 && s * s > 9 * d0 * d0) return 3 * d0
  return s
}

function slopes(curve, n,    i, h, d, w1, w2) {
  for (i = 1; i < n; i++) {
    h[i] = quality[curve, i + 1] - quality[curve, i]
    if (h[i] <= 0) return 0
    d[i] = (rate[curve, i + 1] - rate[curve, i]) / h[i]
  }
  if (n == 2) { slope[curve, 1] = slope[curve, 2] = d[1]; return 1 }
  for (i = 2; i < n; i++) {
    if (d[i - 1] * d[i] <= 0) { slope[curve, i] = 0; continue }
    w1 = 2 * h[i] + h[i - 1]; w2 = h[i] + 2 * h[i - 1]
    slope[curve, i] = (w1 + w2) / (w1 / d[i - 1] + w2 / d[i])
  }
  slope[curve, 1] = end_slope(h[1], h[2], d[1], d[2])
  slope[curve, n] = end_slope(h[n - 1], h[n - 2], d[n - 1], d[n - 2])
  return 1
}

function at(curve, n, x,    i, h, t) {
  for (i = 1; i < n - 1 && x > quality[curve, i + 1]; i++);
  h = quality[curve, i + 1] - quality[curve, i]
  t = (x - quality[curve, i]) / h
  return (2 * t ^ 3 - 3 * t ^ 2 + 1) * rate[curve, i] + (t ^ 3 - 2 * t ^ 2 + t) * h * slope[curve, i] \
    + (3 * t ^ 2 - 2 * t ^ 3) * rate[curve, i + 1] + (t ^ 3 - t ^ 2) * h * slope[curve, i + 1]
}

END {
  n = count["plain"]; m = count["ours"]
  if (n < 2 || m < 2) { print "too few points" > "/dev/stderr"; exit 1 }
  sort("plain", n); sort("ours", m)
  if (!slopes("plain", n) || !slopes("ours", m)) { print "two points of one quality" > "/dev/stderr"; exit 1 }
  low = quality["plain", 1] > quality["ours", 1] ? quality["plain", 1] : quality["ours", 1]
  high = quality["plain", n] < quality["ours", m] ? quality["plain", n] : quality["ours", m]
  if (high <= low) { print "no quality that both reach" > "/dev/stderr"; exit 1 }
  steps = 2000
  for (i = 0; i < steps; i++) {
    x = low + (high - low) * (i + 0.5) / steps
    sum += at("ours", m, x) - at("plain", n, x)
  }
  # No "-0.00".
  percent = (exp(sum / steps) - 1) * 100
  printf "%+.2f\n", (percent * percent < 0.005 ^ 2) ? 0 : percent
}
