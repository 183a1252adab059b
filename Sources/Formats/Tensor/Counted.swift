/// A number with its noun: `1 tensor`, `2 tensors`, `2 entries`.
///
/// - Parameter noun: in the singular; its plural ends in "s", or in "ies" for a "y" after a consonant.
package func counted(_ count: Int, _ noun: String) -> String {
  guard count != 1 else { return "1 \(noun)" }
  let endsInY = noun.hasSuffix("y") && !["ay", "ey", "oy", "uy"].contains(String(noun.suffix(2)))
  return "\(count) \(endsInY ? "\(noun.dropLast())ies" : "\(noun)s")"
}
