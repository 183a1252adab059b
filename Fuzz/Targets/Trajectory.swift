import Formats
import Inspect
import OrderedCollections
import Reports
import Storage

/// Checkpoints of one training run, as a fuzzer makes them.
enum Trajectory {
  /// Follows the checkpoints, and checks that every form of the report can be written, JSON without
  /// loss.
  ///
  /// - Parameter input: JSON of files, by path. A file has counters, which are integers, and matrices,
  ///   each a list of condition number, norm and effective rank.
  static func follow(_ input: SharedBytes) throws {
    guard case .object(let files) = try JSONDocument.parse(input) else { return }
    let checkpoints = try files.map { file, content in try checkpoint(file, content) }
    let report = TrajectoryReport(
      checkpoints.map(\.model),
      steps: TrajectoryReport.steps(of: checkpoints.map { ($0.model.file, $0.archive) }))
    precondition(report.steps.allSatisfy { (0..<1 << 53).contains($0.number) })
    precondition(Set(report.steps.map(\.number)).count == files.count)
    for format in ReportFormat.allCases { _ = try report.rendered(as: format) }
    let json = try report.rendered(as: .json)
    let again = try ReportJSON.decode(TrajectoryReport.self, from: json)
    precondition(again == report)
  }

  private static func checkpoint(
    _ file: String, _ content: JSONValue
  ) throws -> (model: ModelReport, archive: TensorArchive) {
    var archive = TensorArchive()
    var model = try ModelReport(archive: archive, file: file)
    guard case .object(let members) = content else { return (model, archive) }
    for (name, member) in members {
      if case .integer(let counter) = member { archive.values[name] = .integer(counter) }
      guard case .array(let numbers) = member else { continue }
      var layer = LayerReport(
        name: name, position: model.layers.count, elementType: "float32", shape: [2, 2],
        matrix: [2, 2], elementCount: 4, byteCount: 16)
      layer.conditionNumber = number(0, of: numbers, atLeast: 1)
      layer.frobeniusNorm = number(1, of: numbers, atLeast: 0)
      layer.effectiveRank = number(2, of: numbers, atLeast: 1)
      model.layers.append(layer)
    }
    return (model, archive)
  }

  /// Returns a number that a spectrum can have; strings are infinite.
  private static func number(_ index: Int, of list: [JSONValue], atLeast least: Double) -> Double? {
    guard list.indices.contains(index) else { return nil }
    switch list[index] {
    case .integer(let value): return max(least, Double(value))
    case .number(let value): return value.isNaN ? nil : max(least, value)
    case .string: return .infinity
    default: return nil
    }
  }
}
