import Formats

extension DiffReport {
  /// The result in one line, made from the rest of the report.
  var verdictLine: String {
    let layouts = [
      (renamed.count, "renamed"), (relaid.count, "laid out otherwise"),
    ].filter { $0.0 > 0 }.map { "\($0) \($1)" }
    guard !isSame else {
      let exceptions = layouts.isEmpty ? "" : ", \(layouts.joined(separator: ", "))"
      return "the same: \(counted(max(a.tensorCount, b.tensorCount), "tensor"))\(exceptions)"
    }
    var parts =
      changed.isEmpty ? [] : ["\(changed.count) of \(counted(a.tensorCount, "tensor")) changed"]
    parts += layouts
    parts += [(onlyInA.count, "only in A"), (onlyInB.count, "only in B")]
      .filter { $0.0 > 0 }.map { "\($0) \($1)" }
    if !values.isEmpty { parts.append(counted(values.count, "value") + " changed") }
    return "different: \(parts.joined(separator: ", "))"
  }

  /// The tensor that changed most, by its signal-to-noise ratio.
  var worst: String? {
    let measured = changed.compactMap { change in
      change.numbers.map { (name: change.name, numbers: $0) }
    }.filter { $0.numbers.signalToNoise.isFinite }
    guard let worst = measured.min(by: { $0.numbers.signalToNoise < $1.numbers.signalToNoise })
    else { return nil }
    return "\(ReportNumber.real(worst.numbers.signalToNoise)) dB in '\(worst.name)'"
  }
}
