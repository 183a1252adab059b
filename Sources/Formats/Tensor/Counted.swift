/// A number with its noun: `1 tensor`, `2 tensors`, `2 entries`, `2 patches`.
///
/// - Parameter noun: a regular noun in the singular.
package func counted(_ count: Int, _ noun: String) -> String {
  guard count != 1 else { return "1 \(noun)" }
  if noun.hasSuffix("y"), !["ay", "ey", "oy", "uy"].contains(String(noun.suffix(2))) {
    return "\(count) \(noun.dropLast())ies"
  }
  let takesE = ["s", "x", "z", "ch", "sh"].contains { noun.hasSuffix($0) }
  return "\(count) \(noun)\(takesE ? "es" : "s")"
}
